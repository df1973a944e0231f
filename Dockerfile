# Three images of one file; docs/deploy.md says how they are run.
#   docker build -t kthink .                              worker and app in one, with the demo: the default
#   docker build -t kthink-app --target app .             the app alone: no torch
#   docker build -t kthink-worker --target worker .       the worker alone
# TORCH=cuda is PyPI's torch, which brings CUDA along; --build-arg TORCH=cpu takes the small one from its own index.

FROM python:3.11-slim AS app-libraries
RUN apt-get update && apt-get install -y --no-install-recommends tini \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --home-dir /tmp --no-create-home kthink \
 && install -d -o kthink -g kthink /data/cache /data/hub
COPY requirements-app.txt requirements-auth.txt constraints.txt /requirements/
# Left out: the packages' own tests, what is for notebooks, and what of Arrow speaks to servers, which pyarrow loads only
# when asked for.
RUN pip install --no-cache-dir -c /requirements/constraints.txt \
    -r /requirements/requirements-app.txt -r /requirements/requirements-auth.txt \
 && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && rm -rf pyarrow/include pyarrow/src pyarrow/*flight* pyarrow/*_s3* pydeck/nbextension/static /usr/local/share/jupyter
# What a library would leave at home goes into /tmp: all else is read only, but for the two volumes.
ENV KTHINK_CACHE=/data/cache HF_HOME=/data/hub HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /kthink
ENTRYPOINT ["tini", "--"]

FROM app-libraries AS code
COPY LICENSE app.py ./
COPY .streamlit .streamlit
COPY pages pages
COPY kthink_core kthink_core
RUN python -m compileall -q --invalidation-mode unchecked-hash . \
 && mkdir /bundle && mv kthink_core/demo/model kthink_core/demo/saes kthink_core/demo/planted /bundle

FROM app-libraries AS app
COPY --from=code /kthink /kthink
USER kthink
ENV KTHINK_APP_HOST=0.0.0.0 KTHINK_APP_PORT=8501 KTHINK_WORKER_TOKEN_FILE=/data/cache/.access/worker-token
EXPOSE 8501
VOLUME ["/data/cache"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "kthink_core.live.healthy", "app"]
# A name of its own for the browser: else Streamlit asks the internet for this machine's address.
CMD ["sh", "-c", "exec streamlit run app.py --server.address \"$KTHINK_APP_HOST\" --server.port \"$KTHINK_APP_PORT\" --server.baseUrlPath \"$KTHINK_BASE_PATH\" --browser.serverAddress localhost"]

FROM app-libraries AS libraries
ARG TORCH=cuda
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt /requirements/
RUN case "$TORCH" in \
      cuda) index= ;; \
      cpu) index="${TORCH_CPU_INDEX:+--extra-index-url $TORCH_CPU_INDEX}" ;; \
      *) echo "TORCH is cuda or cpu" >&2; exit 1 ;; \
    esac \
 && pip install --no-cache-dir $index -c /requirements/constraints.txt -r /requirements/requirements.txt
# Triton would want a compiler when it first runs.
ENV SPARSIFY_DISABLE_TRITON=1

FROM libraries AS whole
COPY --from=code /kthink /kthink
COPY --from=code /bundle /kthink/kthink_core/demo
USER kthink
RUN python -m kthink_core precompute --preset demo && python -m kthink_core precompute --preset demo-residual

FROM whole AS worker
ENV KTHINK_WORKER_HOST=0.0.0.0 KTHINK_WORKER_TOKEN_FILE=/data/cache/.access/worker-token
EXPOSE 8765
VOLUME ["/data/cache", "/data/hub"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "kthink_core.live.healthy", "worker"]
CMD ["python", "-m", "kthink_core", "worker"]

# docker run --rm -p 127.0.0.1:8501:8501 -e KTHINK_OPEN=1 kthink
FROM whole
ENV KTHINK_APP_HOST=0.0.0.0
EXPOSE 8501
VOLUME ["/data/cache", "/data/hub"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "kthink_core.live.healthy", "app", "worker"]
CMD ["python", "-m", "kthink_core", "up"]

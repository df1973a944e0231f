# Worker and app, with the demo computed inside:
#   docker build -t kthink . && docker run --rm -p 127.0.0.1:8501:8501 -e KTHINK_OPEN=1 kthink
# PyPI's torch brings CUDA along: the same image computes on a GPU where it is run with `--gpus all`.
FROM python:3.11-slim
WORKDIR /kthink
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt
COPY . .
RUN python -m kthink_core precompute --preset demo \
 && python -m kthink_core precompute --preset demo-residual \
 && mkdir hub && useradd --create-home kthink && chown -R kthink cache hub
USER kthink
# The worker listens inside the container only. `cache` and `hub` (models from the hub) are worth a volume each.
ENV KTHINK_APP_HOST=0.0.0.0 HF_HOME=/kthink/hub PYTHONUNBUFFERED=1
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD \
  python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"
CMD ["python", "-m", "kthink_core", "up"]

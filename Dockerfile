# Builds the app with the demo precomputed inside: docker build -t kthink . && docker run --rm -p 8501:8501 kthink
FROM python:3.11-slim
WORKDIR /kthink
# torch's CPU build is all the demo needs; give another index or version with --build-arg on a GPU host.
ARG TORCH=torch==2.13.0
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir "$TORCH" -r requirements.txt
COPY . .
RUN python -m kthink_core precompute --preset demo \
 && useradd --create-home kthink && chown -R kthink cache
USER kthink
ENV KTHINK_APP_HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"
CMD ["python", "-m", "kthink_core", "up"]

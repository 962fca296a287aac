# `padinv serve` on processors.
#   docker build -t padinv .
#   docker run --rm -p 127.0.0.1:8000:8000 -e PADINV_TOKEN=change-me padinv
# A model of your own: add -v /path/to/bundle:/model:ro, and at the end: serve --host 0.0.0.0 --model /model
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY padinv padinv
COPY cli cli
COPY export export
COPY runtime runtime
RUN pip install '.[cpu,serve]' && rm -rf /src/build

# Nothing is written but temporary files, so nobody needs to be root.
RUN useradd --create-home --uid 10001 padinv
USER padinv
WORKDIR /home/padinv
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# SIGTERM lets the service finish what it has accepted.
STOPSIGNAL SIGTERM
ENTRYPOINT ["padinv"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

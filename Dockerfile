# Two targets that differ only in the build of torch:
#   docker build --target cpu --build-arg TORCH_INDEX=<index with CPU builds of torch> -t dgl:cpu .
#   docker build --target gpu -t dgl:gpu .
#   docker run --rm -p 8888:8888 dgl:cpu                                    JupyterLab
#   mkdir -p reports && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/reports:/home/reader/dgl/reports" dgl:cpu \
#     make reproduce PROFILE=smoke                                          as any user, who then owns the report
#   docker run --rm --gpus all --shm-size=8g -v /my/data:/data:ro -e DGL_DATA=/data dgl:gpu make reproduce PROFILE=paper
# The CUDA libraries come with torch's own packages; the host supplies the driver.
# The base image of August 2026 for every architecture (Python 3.11.16); renew the digest to take its later repairs.
FROM python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7 AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 reader
USER reader
WORKDIR /home/reader/dgl
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/home/reader/dgl/.venv/bin:$PATH
# A container may run as any user: a home that is there for all, and the folders that commands write to open to all.
ENV HOME=/home/reader WRITTEN="data notebooks reports results"
COPY --chown=reader requirements.lock ./
RUN python -m venv .venv
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]

FROM base AS cpu
# No default: without it, torch comes from the index that pip is configured with, which may hold CUDA builds only.
ARG TORCH_INDEX
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} $(grep '^torch==' requirements.lock) \
 && python -c "import sys, torch; sys.exit(torch.version.cuda and 'torch is a CUDA build: give --build-arg TORCH_INDEX')" \
 && pip install -r requirements.lock
COPY --chown=reader . .
RUN pip install --no-deps -e . && touch .venv/.complete && mkdir -p $WRITTEN && chmod -R a+rwX $WRITTEN && chmod a+rwx . ~

FROM base AS gpu
ARG TORCH_INDEX
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} $(grep '^torch==' requirements.lock) \
 && python -c "import sys, torch; sys.exit(not torch.version.cuda and 'torch has no CUDA: give --build-arg TORCH_INDEX')" \
 && pip install -r requirements.lock
COPY --chown=reader . .
RUN pip install --no-deps -e . && touch .venv/.complete && mkdir -p $WRITTEN && chmod -R a+rwX $WRITTEN && chmod a+rwx . ~

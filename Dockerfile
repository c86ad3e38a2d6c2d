# docker build -t sarcoma-mil .
# docker run --rm -v "$PWD":/data sarcoma-mil demo          (Linux: --user "$(id -u):$(id -g)"; a GPU: --gpus all; for serve, which is
# for the computer alone that it runs on: --network host)
# The image takes some 7 GB with PyTorch's CUDA libraries. Without them, for machines without a GPU: --build-arg TORCH="--index-url ADDRESS",
# with the address that PyTorch's own page (Get started: Pip, CPU) shows.
FROM python:3.12-slim

ARG TORCH=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
COPY . /opt/sarcoma-mil
RUN python -m pip install torch torchvision ${TORCH} \
 && python -m pip install -e /opt/sarcoma-mil \
 && sarcoma-mil doctor --study /tmp \
 && useradd --create-home pathologist
USER pathologist
WORKDIR /data
ENTRYPOINT ["sarcoma-mil"]
CMD ["--help"]

# The tested versions in an image.
#
#   docker build --tag clustercontrast .                          CPU; runs the demo:
#   docker run --rm clustercontrast
#   docker build --tag clustercontrast:cuda --build-arg DEVICE=cuda .
#   docker run --rm --gpus all --ipc host --volume "$PWD/data:/clustercontrast/data" \
#       --volume "$PWD/logs:/clustercontrast/logs" clustercontrast:cuda bash run_train_sysu.sh pclhd
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# cpu or cuda: wheels of PyTorch without CUDA's libraries, or with them
ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1
WORKDIR /clustercontrast

COPY . .
# Of two wheels of one version, pip takes the one for the CPU: 2.14.1+cpu is above 2.14.1.
RUN if [ "$DEVICE" = cpu ]; then \
        export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; \
    fi; \
    . .ci/environment.sh

CMD ["bash", "run_demo.sh"]

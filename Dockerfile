# Kmesh Lab in a container, for x86-64 and arm64:
#
#   docker build -t kmesh-lab . && docker run --rm -it --privileged -p 127.0.0.1:8888:8888 kmesh-lab
#
# The same Debian packages (apt.txt) and Python packages (requirements.lock) as `make lab`. Neither clang nor kernel
# headers are in it: bcc has a clang of its own, and bpf/stubs is all the headers there are. Behind a proxy that signs
# for others, hand in its certificate, and a pip.conf if you have one; neither stays in the image:
#
#   docker build --secret id=ca,src=CA.crt --secret id=pipconf,src=pip.conf -t kmesh-lab .
#
# docs/containers.md has the rest: fewer privileges, podman, notebooks on a volume, taking the image to a class.
FROM debian:bookworm-slim
WORKDIR /kmesh-lab

COPY apt.txt ./
RUN export DEBIAN_FRONTEND=noninteractive && apt-get -qq update && \
    apt-get -qqy install --no-install-recommends \
      $(awk '/^# ---/ {part = $3} !/^#/ && (part == "run" || part == "image") {sub("[|].*", "", $1); print $1}' apt.txt) >/dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

# Outside /kmesh-lab, so that a checkout can be mounted there. The link is the distribution's bcc, as in the Makefile.
# JupyterLab's settings are those of `make lab`, for a hub and a dev container, too.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH JUPYTER_CONFIG_PATH=/kmesh-lab/deploy/jupyterlab
COPY requirements.lock ./
RUN --mount=type=secret,id=ca,target=/run/host-ca.crt --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    if [ -s /run/host-ca.crt ]; then export PIP_CERT=/run/host-ca.crt; fi && \
    /usr/bin/python3 -m venv /opt/venv && ln -s /usr/lib/python3/dist-packages/bcc /opt/venv/lib/python3.*/site-packages/ && \
    python -I -m pip install -qq --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

COPY . .
RUN python -I -m pip install -qq --no-cache-dir --no-index --no-deps --no-build-isolation --editable . && \
    python -I -m compileall -q kmesh_lab

EXPOSE 8888
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["deploy/docker/healthy"]
ENTRYPOINT ["tini", "-g", "--", "/kmesh-lab/deploy/docker/entrypoint"]
CMD ["lab"]

"""A JupyterHub for a class: each attendee gets an own privileged container. README.md says how, and what it isolates.

Settings come from the environment:

    KMESH_LAB_PASSWORD        what attendees log in with, at least 8 characters; there is no default
    KMESH_LAB_ADMIN_PASSWORD  what the user `instructor` logs in with, at least 32 characters; without it nobody may
    KMESH_LAB_HUB_URL         where the hub listens, http://127.0.0.1:8000 unless given
    KMESH_LAB_HUB_IP          this machine as the containers see it: the address of the bridge docker0
"""

import os
import sys

c = get_config()  # type: ignore[name-defined]  # noqa: F821

if len(os.environ.get("KMESH_LAB_PASSWORD", "")) < 8:
    sys.exit("KMESH_LAB_PASSWORD is missing or shorter than 8 characters: the attendees log in with it")

c.JupyterHub.bind_url = os.environ.get("KMESH_LAB_HUB_URL", "http://127.0.0.1:8000")
c.JupyterHub.hub_ip = os.environ.get("KMESH_LAB_HUB_IP", "172.17.0.1")
c.JupyterHub.cleanup_servers = True  # a hub that ends takes the containers with it

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["KMESH_LAB_PASSWORD"]
c.SharedPasswordAuthenticator.admin_password = os.environ.get("KMESH_LAB_ADMIN_PASSWORD")
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"instructor"}

c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "kmesh-lab-hub"  # deploy/jupyterhub/Dockerfile
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.cmd = ["jupyterhub-singleuser", "--allow-root"]
c.DockerSpawner.notebook_dir = "/kmesh-lab"
c.DockerSpawner.volumes = {"kmesh-lab-{username}": "/kmesh-lab/notebooks"}  # kept when the container goes
c.DockerSpawner.remove = True
c.DockerSpawner.mem_limit = "2G"
c.DockerSpawner.cpu_limit = 2
# What a lab needs. A cgroup namespace of its own, so that an attendee's nodes are below the attendee's container.
c.DockerSpawner.extra_host_config = {"privileged": True, "cgroupns": "private", "pids_limit": 2000}

c.Spawner.default_url = "/lab/tree/notebooks/00-start-here.ipynb"
c.Spawner.start_timeout = 60
c.Spawner.http_timeout = 60

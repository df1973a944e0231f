"""The three images, built for real and run: their sizes, their health checks, roles across two of them, and their ends.

    python -m benchmarks.images [--built] [-- OPTIONS OF buildah bud, such as --build-arg TORCH_CPU_INDEX=…]

Needs root, buildah and bubblewrap, and an image python:3.11-slim or a way to it; takes the small torch (TORCH=cpu).
What nobody else is to read is planted in the folder that is built from, and looked for in what comes of it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.containers import Container, Image, build, mounted
from benchmarks.generating import generating
from benchmarks.report import machine, markdown
from benchmarks.served import ROOT, free_port
from kthink_core.presets import preset
from kthink_core.store.completion import is_finished
from tests.app_socket import visiting

TARGETS = {"app": "app", "worker": "worker", "": "worker and app in one"}
SECRET = "planted-7f3a9c"
SECRETS = (".streamlit/secrets.toml", ".env", "secrets/oidc.toml", "cache/.access/key")
"""Where somebody may have them."""
PAGES = """
import sys
from pathlib import Path
from streamlit import auth_util
from streamlit.testing.v1 import AppTest
assert auth_util.is_authlib_installed()
for page in sorted(Path("pages").glob("*.py")):
    app = AppTest.from_file("app.py", default_timeout=300)
    app.switch_page(str(page)).run()
    assert not app.exception, (page, app.exception)
    print(page.stem)
assert not {"torch", "transformers", "sparsify"} & set(sys.modules)
"""
ROLES = """
import httpx, json
from kthink_core.access.person import Person
from kthink_core.access.signatures import PersonTokens
from kthink_core.settings import WorkerSettings, from_environment
settings = from_environment(WorkerSettings)
token = settings.token.get_secret_value()
def status(bearer, **person):
    signed = PersonTokens(person.pop("by", token)).sign(Person(**person)) if person else None
    headers = {"authorization": f"Bearer {bearer}"} | ({"x-kthink-person": signed} if signed else {})
    return httpx.post(settings.address + "/tokenize", json={"prompt": "Two?"}, headers=headers).status_code
viewer, runner = (dict(id=role, name=role, role=role, way="invitation") for role in ("viewer", "runner"))
others = [status("another-token"), status(token, **runner, by="another-token")]
print(json.dumps([status(token, **runner), status(token, **viewer), *others]))
"""
"""A runner, a viewer, another's token, and a person whom another token signed for."""


@contextmanager
def _context() -> Iterator[Path]:
    """What is built from: the project's files, and secrets among them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "kthink"
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
        for path in SECRETS:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(SECRET)
        yield folder


def _leaked(root: Path) -> list[str]:
    paths = (Path(folder, name) for top in ("kthink", "requirements", "data", "bundle")
             for folder, _, names in os.walk(root / top) for name in names)  # fmt: skip
    return [str(path) for path in paths if path.is_file() and SECRET.encode() in path.read_bytes()]


def _volume(image: Image, path: str, folder: Path) -> Path:
    """As an engine begins a new volume: with what the image has there."""
    shutil.copytree(image.root / path.lstrip("/"), folder)
    for each in (folder, *folder.rglob("*")):
        os.chown(each, image.owner, image.owner)
    return folder


def _two(app: Image, worker: Image, stack: ExitStack, folder: Path) -> dict[str, str]:
    """App and worker as compose runs them: over one volume, which holds their token."""
    cache, hub = _volume(worker, "/data/cache", folder / "two"), _volume(worker, "/data/hub", folder / "two-hub")
    ports = {"KTHINK_WORKER_PORT": str(free_port()), "KTHINK_APP_PORT": str(free_port()), "KTHINK_OPEN": "1"}
    log = stack.enter_context((folder / "two.log").open("wb"))
    first = Container(worker, {"/data/cache": cache, "/data/hub": hub}, log, **ports)
    stack.callback(first.kill)
    worker_healthy = first.seconds_to_healthy()
    address = f"http://127.0.0.1:{ports['KTHINK_WORKER_PORT']}"
    second = Container(app, {"/data/cache": cache}, log, **ports, KTHINK_WORKER_URL=address)
    stack.callback(second.kill)
    app_healthy = second.seconds_to_healthy()
    roles = second.run("python", "-c", ROLES)
    pages = second.run("python", "-c", PAGES)
    invited = second.run("python", "-m", "kthink_core", "invite", "--role", "viewer", "--days", "1")
    migrated = second.run("python", "-m", "kthink_core", "migrate")
    torch = second.run("python", "-m", "kthink_core", "precompute", "--experiment", "new")
    written = second.run("sh", "-c", "id -u; touch /kthink/x /usr/x /home/x 2>&1 | grep -c 'Read-only'")
    token = (cache / ".access/worker-token").read_text().strip()
    with (
        visiting(f"http://127.0.0.1:{ports['KTHINK_APP_PORT']}") as visit,
        generating(int(ports["KTHINK_WORKER_PORT"]), token),
    ):
        visit.run()
        app_ended, worker_ended = second.stop(), first.stop()
    return {
        "worker: healthy after": f"{worker_healthy:.1f} s",
        "app: healthy after": f"{app_healthy:.1f} s",
        "a runner, a viewer, another token, a person signed for by another": roles.stdout.strip()
        or roles.stderr[-300:],
        "pages shown by the app": pages.stdout.replace("\n", " ") or pages.stderr[-500:],
        "an invitation from within": f"status {invited.returncode}, {invited.stdout.partition('=')[0]}",
        "migrating in the app": f"status {migrated.returncode}",
        "computing in the app": torch.stderr.strip(),
        "user; of three places, read only; first process": " ".join([*written.stdout.split(), first.first.name()]),
        "app, a page open: ended after SIGTERM": f"{app_ended[0]:.1f} s, status {app_ended[1]}",
        "worker, generating: ended after SIGTERM": f"{worker_ended[0]:.1f} s, status {worker_ended[1]}",
        "told of a read-only file": str((folder / "two.log").read_text("utf-8", "replace").count("Read-only")),
    }


def _one(both: Image, stack: ExitStack, folder: Path, empty: bool) -> dict[str, str]:
    """All in one, over a new volume, or over an empty folder in which the demo has to be made first."""
    cache, hub = folder / f"one-{empty}", folder / f"hub-{empty}"
    if empty:
        for each in (cache, hub):
            each.mkdir()
            os.chown(each, both.owner, both.owner)
    else:
        for path, each in (("/data/cache", cache), ("/data/hub", hub)):
            _volume(both, path, each)
    ports = {"KTHINK_WORKER_PORT": str(free_port()), "KTHINK_APP_PORT": str(free_port()), "KTHINK_OPEN": "1"}
    log = stack.enter_context((folder / f"one-{empty}.log").open("wb"))
    container = Container(both, {"/data/cache": cache, "/data/hub": hub}, log, **ports)
    stack.callback(container.kill)
    name = "an empty folder" if empty else "a new volume"
    rows = {f"all in one, {name}: healthy after": f"{container.seconds_to_healthy():.1f} s"}
    while not is_finished(cache, "demo", preset("demo")):
        time.sleep(0.5)
    rows[f"all in one, {name}: the whole demo after"] = f"{time.perf_counter() - container.began:.1f} s"
    port = int(ports["KTHINK_WORKER_PORT"])
    with visiting(f"http://127.0.0.1:{ports['KTHINK_APP_PORT']}") as visit, generating(port, None):
        visit.run()
        seconds, status = container.stop()
    rows[f"all in one, {name}, generating, a page open: ended after SIGTERM"] = f"{seconds:.1f} s, status {status}"
    return rows


def _built(context: Path, options: list[str], logs: Path) -> dict[str, str]:
    """Every target, and once more after a change of a page."""
    rows = {}
    for target, name in TARGETS.items():
        rows[f"{name}: built in"] = f"{build(context, target, options, logs / f'{name}.log'):.0f} s"
    with (context / "pages/guide.py").open("a") as page:
        page.write("# changed\n")
    for target, name in TARGETS.items():
        log = logs / f"{name}, again.log"
        seconds = build(context, target, options, log)
        installed = log.read_text("utf-8", "replace").count("Collecting ")
        rows[f"{name}: built again after a page has changed"] = f"{seconds:.0f} s, {installed} packages installed"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", action="store_true", help="take the images that an earlier run has built")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="of buildah bud, after --")
    options = parser.parse_args()
    rows: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kthink-images-")))
        if not options.built:
            given = ["--build-arg", "TORCH=cpu", *options.options]
            rows |= _built(stack.enter_context(_context()), given, folder)
        images = {target: stack.enter_context(mounted(target)) for target in TARGETS}
        for target, image in images.items():
            above = image.bytes - image.base_bytes
            rows[f"{TARGETS[target]}: size"] = f"{above / 1e6:.0f} MB, and {image.base_bytes / 1e6:.0f} of the base"
            rows[f"{TARGETS[target]}: files with what was planted"] = str(_leaked(image.root))
        rows |= _two(images["app"], images["worker"], stack, folder)
        rows |= _one(images[""], stack, folder, empty=False)
        rows |= _one(images[""], stack, folder, empty=True)
    print(markdown("Images", rows, machine()))


if __name__ == "__main__":
    main()

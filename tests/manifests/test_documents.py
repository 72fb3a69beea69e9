"""What hosts and registries read follows from the code: one version, the live tools, settings that exist."""

import base64
import json
import re
import shlex
import struct
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from jsonschema import Draft7Validator
from mcp import Client
from ruamel.yaml import YAML

from avm_mcp import __version__
from avm_mcp.app import Runtime
from avm_mcp.cli.parser import build_parser
from avm_mcp.cli.setup.hosts import HOSTS
from avm_mcp.mcp_server.server import build_server
from avm_mcp.settings import ALIASES, Settings
from manifests import build, bundle, clients, facts
from manifests.facts import MANIFESTS, ROOT

HERE = Path(__file__).parent
SKILL = MANIFESTS / "skill" / facts.SKILL
COMMON_KEYS = {"name", "description", "license", "metadata"}
"""The keys at the top of a skill that agentskills, OpenClaw and ClawHub all take."""


def read(name: str) -> dict:
    return json.loads((MANIFESTS / name).read_text())


def front_matter() -> str:
    return (SKILL / "SKILL.md").read_text().split("---\n")[1]


@pytest.mark.parametrize("name", sorted(build.documents()))
def test_what_is_committed_is_what_the_code_makes(name):
    """`make manifests` writes it."""
    assert (MANIFESTS / name).read_text() == build.documents()[name]


def test_no_generated_file_is_left_over():
    made = {(MANIFESTS / name).resolve() for name in build.documents()}
    for folder in ("clients", "plugin", "gemini", "skill"):
        assert {path for path in (MANIFESTS / folder).rglob("*") if path.is_file()} <= made


def test_the_version_is_one_everywhere():
    server = read("server.json")
    dockerfile = (ROOT / "Dockerfile").read_text()
    found = {
        "pyproject": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "mcpb": read("mcpb/manifest.json")["version"],
        "server": server["version"],
        **{f"server {p['registryType']}": p["version"] for p in server["packages"] if "version" in p},
        "server image": server["packages"][1]["identifier"].split(":")[1],
        "server bundle": re.search(r"/v([^/]+)/avm-mcp-\1\.mcpb$", server["packages"][2]["identifier"])[1],
        "plugin": read("plugin/.claude-plugin/plugin.json")["version"],
        "gemini": read("gemini/gemini-extension.json")["version"],
        "skill": re.search(r'^  version: "(.+)"$', front_matter(), re.MULTILINE)[1],
        "image": re.search(r'image\.version="([^"]+)"', dockerfile)[1],
    }
    assert found == dict.fromkeys(found, __version__)


async def test_the_bundle_names_the_tools_that_the_server_lists(tmp_path):
    settings = Settings.from_env({"AVM_STATE_DIR": str(tmp_path), "AVM_WORKER": "off"})
    async with Client(build_server(Runtime(settings))) as client:
        live = [{"name": tool.name, "description": tool.description} for tool in (await client.list_tools()).tools]
    assert read("mcpb/manifest.json")["tools"] == live


def test_every_variable_that_a_manifest_sets_is_a_setting():
    known = {*Settings.model_fields, *ALIASES}
    assert set(read("mcpb/manifest.json")["server"]["mcp_config"]["env"]) <= known
    for package in read("server.json")["packages"]:
        assert {variable["name"] for variable in package.get("environmentVariables", [])} <= known
    assert set(read("plugin/.claude-plugin/plugin.json")["mcpServers"]["avm-mcp"]["env"]) <= known
    assert set(read("gemini/gemini-extension.json")["mcpServers"]["avm-mcp"]["env"]) <= known


def test_every_answer_of_the_bundles_form_is_used_and_every_key_is_hidden():
    manifest = read("mcpb/manifest.json")
    used = set(re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(manifest["server"])))
    assert used == set(manifest["user_config"])
    assert manifest["user_config"]["api_key"]["sensitive"]
    for question in manifest["user_config"].values():
        assert {"type", "title", "description"} <= set(question)
    assert "icons" not in manifest, "older loaders refuse the whole bundle for it"


def test_the_icon_is_a_png_of_512_by_512():
    head = (MANIFESTS / "mcpb" / "icon.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (512, 512)


def test_the_registry_takes_server_json():
    """The schema is the released one of 2025-12-11, without its examples; it lets unknown keys pass."""
    schema, content = json.loads((HERE / "server.schema.json").read_text()), read("server.json")
    Draft7Validator(schema).validate(content)
    assert content["$schema"] == schema["$id"]
    known = {name for part in schema["definitions"].values() for name in _properties(part)}

    def keys(value):
        if isinstance(value, dict):
            yield from (name for name in value if name != "out")  # the name of our own variable
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from keys(item)

    assert set(keys(content)) <= known
    assert re.fullmatch(r"io\.github\.[\w-]+/[\w.-]+", content["name"])
    assert "version" not in content["packages"][1], "an image has its version in its tag"


def _properties(part):
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield from part["properties"]
        for value in part.values():
            yield from _properties(value)
    elif isinstance(part, list):
        for item in part:
            yield from _properties(item)


def test_the_registry_finds_its_name_in_readme_and_image():
    assert f"<!-- mcp-name: {facts.REGISTRY_NAME} -->" in (ROOT / "README.md").read_text()
    assert f'io.modelcontextprotocol.server.name="{facts.REGISTRY_NAME}"' in (ROOT / "Dockerfile").read_text()
    assert read("server.json")["name"] == facts.REGISTRY_NAME


@pytest.mark.parametrize(
    "path", sorted(MANIFESTS.rglob("SKILL.md")), ids=lambda path: path.relative_to(MANIFESTS).as_posix()
)
def test_the_front_matter_of_every_skill_is_yaml(path):
    """A colon in a description once made it none, and no registry took the skill."""
    _, front, _ = path.read_text().split("---\n", 2)
    read = YAML(typ="safe").load(front)
    assert {"name", "description", "license", "metadata"} <= read.keys()


def test_the_skill_has_only_what_all_validators_take():
    text = front_matter()
    assert set(re.findall(r"^(\w[\w-]*):", text, re.MULTILINE)) == COMMON_KEYS
    assert f"\nname: {SKILL.name}\n" in f"\n{text}"
    description = re.search(r"^description: (.+)$", text, re.MULTILINE)[1]
    assert len(description) <= 160
    assert not re.search(r"^\s*(?:- )?[\w-]+: *[\[{]", text, re.MULTILINE), "flow style is refused by one of them"
    body = (SKILL / "SKILL.md").read_text()
    assert len(body.splitlines()) < 500
    assert "\n      env:" not in text, "a key in requires.env would hide the skill until it is set"
    for page in re.findall(r"`(references/\w+\.md)`", body):
        assert (SKILL / page).is_file()


def test_every_command_in_the_skill_can_be_read():
    for page in (SKILL / "SKILL.md", SKILL / "references" / "examples.md"):
        lines = re.findall(r"(?:^|`)(avm [a-z][^`\n]* --json)", page.read_text(), re.MULTILINE)
        assert len(lines) >= 5
        for line in lines:
            build_parser("avm").parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("host", HOSTS.values(), ids=lambda host: host.name)
def test_every_host_has_its_file_in_a_form_that_it_reads(host):
    for name in (f"{host.name}.{host.form}", f"{host.name}-http.{host.form}"):
        path = MANIFESTS / "clients" / name
        if "-http" in name and host.remote is None:
            assert not path.exists()
            continue
        text = path.read_text()
        if host.form == "yaml":
            assert text.startswith("extensions:\n  avm-mcp:\n    enabled: true\n")
            continue
        content = json.loads(text) if host.form == "json" else tomllib.loads(text)
        for key in host.path_to_servers:
            content = content[key]
        assert list(content) == ["avm-mcp"]
        key = content["avm-mcp"].get("env", {}).get("AVM_API_KEY", "sandbox")
        assert key == "sandbox" or key.startswith("${")


def test_a_link_says_what_to_start_and_holds_no_key():
    for name, link in clients.links().items():
        if name == "VS Code, on a web page":
            assert parse_qs(urlsplit(link).query)["url"] == [clients.links()["VS Code"]]
            continue
        parts = urlsplit(link)
        if name == "VS Code":
            entry = json.loads(unquote(parts.query))
            assert entry.pop("name") == "avm-mcp"
            assert entry.pop("type") == "stdio"
        elif name == "Goose":
            query = parse_qs(parts.query)
            entry = {"command": query["cmd"][0], "args": query["arg"]}
        else:
            query = parse_qs(parts.query)
            assert query["name"] == ["avm-mcp"]
            entry = json.loads(base64.b64decode(query["config"][0]))
        assert entry == {"command": "uvx", "args": ["avm-mcp"]}
        assert "KEY" not in link


def test_the_same_content_packs_to_the_same_bytes(tmp_path):
    sums = []
    for turn in ("one", "two"):
        folder = tmp_path / turn
        bundle.stage(folder)
        (folder / "uv.lock").write_text("# a lock")
        sums.append(bundle.pack(folder, tmp_path / f"{turn}.mcpb"))
    assert sums[0] == sums[1]
    assert (tmp_path / "one.mcpb").read_bytes() == (tmp_path / "two.mcpb").read_bytes()
    assert sums[0] in bundle.server_json(sums[0])
    assert read("server.json")["packages"][2]["fileSha256"] not in bundle.server_json(sums[0])


def test_the_bundle_holds_what_users_need_and_nothing_else(tmp_path):
    bundle.stage(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"manifest.json", "start.py", "icon.png", "README.md", "LICENSE", "pyproject.toml", "avm_mcp"}
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert project["project"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "dependency-groups" not in project
    assert f"mcp=={_pinned('mcp')}" in project["tool"]["uv"]["constraint-dependencies"]
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".pyc" or path.name == "__pycache__"]


def _pinned(name: str) -> str:
    return re.search(rf"^{name}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]

"""The examples as data: what each needs, how long it waits for a call by default, and what takes it back to that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

Change = tuple[str, str]
"""Text that stands once in an example, and what stands there instead."""

MODEL_OF_THE_TESTS: Mapping[str, str] = {
    ".py": 'if __name__ == "__main__":\n',
    ".ts": "// The model of the tests",
}
"""Where an example of a language ends, and its run with a scripted model begins."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One framework.

    Attributes:
        file: In this folder.
        title: Its name.
        tested: The environment under `.hosts/` that it runs in; None for our own.
        install: What a user types.
        limit: Seconds after which a call is cut by default; None where none is.
        cut: Whether a call that waits longer meets that limit. The server answers some hosts before it.
        patience: What the example says about it, which its default is without.
        one_server: Whether one server process lasts for the conversation.
        http: What makes it connect to `avm-mcp serve` instead of starting a server.
        sees: Which part of a result its model gets.
        note: What else a user should know.
    """

    file: str
    title: str
    tested: str | None
    install: str
    limit: float | None
    cut: bool = True
    timeout: tuple[Change, ...] = ()
    one_server: bool = True
    http: tuple[Change, ...] = ()
    sees: str
    note: str

    @property
    def name(self) -> str:
        return Path(self.file).stem.removesuffix("_agent")

    @property
    def path(self) -> Path:
        return HERE / self.file

    def changed(self, changes: Sequence[Change]) -> str:
        """Return its source with the changes made."""
        source = self.path.read_text()
        for old, new in changes:
            assert source.count(old) == 1, f"{self.file} says {source.count(old)} times: {old}"
            source = source.replace(old, new)
        return source

    def shown(self, changes: Sequence[Change] = ()) -> str:
        """Return what the document shows of it: all but its title and the model of the tests."""
        _, _, code = self.changed(changes).partition("\n")
        return code.partition(MODEL_OF_THE_TESTS[self.path.suffix])[0].strip()


URL = "http://127.0.0.1:8765/mcp"

LANGCHAIN = Example(
    file="langchain_agent.py",
    title="LangChain and LangGraph",
    tested="langchain",
    install="pip install langchain langgraph langchain-mcp-adapters",
    limit=None,
    timeout=(
        ('    async with client.session("avm") as session:\n        tools = await load_mcp_tools(session)\n', ""),
        ("        agent = create_agent(model, tools)\n", "    agent = create_agent(model, await client.get_tools())\n"),
        ("        wish = {", "    wish = {"),
        ("        printed = await", "    printed = await"),
    ),
    http=(
        (
            '{"transport": "stdio", "command": "avm-mcp", "args": [], "env": dict(os.environ)}',
            f'{{"transport": "streamable_http", "url": "{URL}"}}',
        ),
    ),
    sees="text",
    note="`client.get_tools()` in place of the session starts a server for each call. That loses nothing either: the"
    " task and its video outlive the server that started it.",
)
OPENAI = Example(
    file="openai_agent.py",
    title="OpenAI Agents SDK",
    tested="openai",
    install="pip install openai-agents",
    limit=5,
    timeout=(("        client_session_timeout_seconds=120,\n", ""),),
    http=(
        ("import MCPServerStdio\n", "import MCPServerStreamableHttp\n"),
        ("with MCPServerStdio(", "with MCPServerStreamableHttp("),
        ('params={"command": "avm-mcp", "env": dict(os.environ)}', f'params={{"url": "{URL}"}}'),
    ),
    sees="text",
    note="Its model is told only *“An error occurred while running the tool. Please try again.”* when a call is cut;"
    " the same call again returns the video that was started.",
)
PYDANTIC_AI = Example(
    file="pydantic_ai_agent.py",
    title="Pydantic AI",
    tested="pydantic_ai",
    install="pip install 'pydantic-ai-slim[mcp]'",
    limit=300,
    http=(('StdioTransport("avm-mcp", [], env=dict(os.environ))', f'"{URL}"'),),
    sees="text",
    note="It asks for progress, so a paid call waits up to 45 s by itself. Until there is a video its model sees the"
    " structured result, from then on the text.",
)
GOOGLE_ADK = Example(
    file="google_adk_agent.py",
    title="Google ADK",
    tested="google_adk",
    install="pip install 'google-adk[mcp]'",
    limit=5,
    cut=False,
    timeout=(("            timeout=30,\n", ""),),
    http=(
        ("import McpToolset, StdioConnectionParams\n", "import McpToolset, StreamableHTTPConnectionParams\n"),
        (
            "StdioConnectionParams(\n"
            '            server_params=StdioServerParameters(command="avm-mcp", env=dict(os.environ)),',
            f'StreamableHTTPConnectionParams(\n            url="{URL}",',
        ),
    ),
    sees="text and structured",
    note="The server knows it by its name: a call of ADK waits two seconds at most, and the agent looks again.",
)
LLAMA_INDEX = Example(
    file="llama_index_agent.py",
    title="LlamaIndex",
    tested="llama_index",
    install="pip install llama-index-core llama-index-tools-mcp",
    limit=30,
    timeout=(("        timeout=120,\n", ""),),
    one_server=False,
    http=(('        "avm-mcp",\n        env=dict(os.environ),\n', f'        "{URL}",\n'),),
    sees="text and structured",
    note="Each call starts a server of its own, and ends it.",
)
SMOLAGENTS = Example(
    file="smolagents_agent.py",
    title="smolagents",
    tested="smolagents",
    install="pip install 'smolagents[mcp]' 'mcp<2'",
    limit=None,
    timeout=(('        adapter_kwargs={"client_session_timeout_seconds": timedelta(seconds=120)},\n', ""),),
    http=(
        (
            'StdioServerParameters(command="avm-mcp", env=dict(os.environ))',
            f'{{"url": "{URL}", "transport": "streamable-http"}}',
        ),
    ),
    sees="structured",
    note="`mcp<2` is needed: with the SDK's second major its adapter does not load.",
)
TYPESCRIPT = Example(
    file="typescript_agent.ts",
    title="TypeScript SDK",
    tested="node",
    install="npm install @modelcontextprotocol/client",
    limit=60,
    timeout=(("        timeout: 120_000,\n", ""),),
    http=(
        (
            'import { Client } from "@modelcontextprotocol/client";\n',
            'import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";\n',
        ),
        ('import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";\n', ""),
        (
            'new StdioClientTransport({ command: "avm-mcp", env })',
            f'new StreamableHTTPClientTransport(new URL("{URL}"))',
        ),
    ),
    sees="what you pass on",
    note="Node 22.18 or newer runs the file as it is; an older one needs it compiled. The loop is yours.",
)
RAW_HTTP = Example(
    file="raw_http_agent.py",
    title="Raw HTTP",
    tested=None,
    install="pip install httpx2",
    limit=5,
    timeout=((", timeout=timeout", ""),),
    sees="what you pass on",
    note="Start `avm-mcp serve` first; the key, the folders and the caps are the server's.",
)

EXAMPLES: Mapping[str, Example] = {
    example.name: example
    for example in (LANGCHAIN, OPENAI, PYDANTIC_AI, GOOGLE_ADK, LLAMA_INDEX, SMOLAGENTS, TYPESCRIPT, RAW_HTTP)
}

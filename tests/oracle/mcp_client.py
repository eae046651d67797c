"""Tests `poolscope mcp` with the client of the `mcp` package (2.x) from PyPI.

    mcp_client.py POOLSCOPE DUMP [--transcript]

Connects, lists the tools, and finds the owner of the sample's leak in at most five
calls; the client checks every structured answer against the tool's schema. With
--transcript, prints each call and the start of its answer.
"""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(program, dump, transcript):
    server = StdioServerParameters(command=program, args=["mcp", dump, "--no-cache", "--quiet"])
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        hello = await session.initialize()
        tools = (await session.list_tools()).tools
        assert len(tools) <= 8, [tool.name for tool in tools]
        size = sum(len(tool.model_dump_json(exclude_none=True)) for tool in tools)
        assert size < 8 << 10, size
        if transcript:
            print(f"server {hello.server_info.name} {hello.server_info.version},"
                  f" protocol {hello.protocol_version}, {len(tools)} tools")
        calls = 0

        async def call(tool, **arguments):
            nonlocal calls
            calls += 1
            result = await session.call_tool(tool, arguments)
            assert not result.is_error, result.content
            answer = result.structured_content
            assert json.loads(result.content[0].text) == answer
            if transcript:
                print(f"\n> {tool} {json.dumps(arguments)}")
            return answer

        def show(*lines):
            if transcript:
                print("\n".join(f"  {line}" for line in lines))

        verdict = await call("diagnose")
        finding = verdict["findings"][0]
        owner = finding["owners"][0]
        show(f"verdict: {verdict['verdict']}", f"summary: {verdict['summary']}",
             f"tag: {finding['tag']}, {finding['bytes']} bytes",
             f"owner: {owner['module']} ({owner['confidence']})")
        references = await call("references", tag=finding["tag"])
        first = references["references"][0]
        show(f"{first['module']} at {first['address']}: {first['instruction']} -> {first['api']}",
             *references["coverage"])
        tag = await call("tag", tag=finding["tag"])
        show(f"blocks found: {tag['summary']['allocations']}", *tag["coverage"])
        blocks = await call("blocks", tag=finding["tag"], limit=3)
        show(*(f"{b['address']} {b['size']} {b['pool']}" for b in blocks["allocations"]),
             f"next_cursor: {blocks['next_cursor']}, total_rows: {blocks['total_rows']}")
        assert tag["owners"][0]["module"] == owner["module"] == references["modules"][0]["module"]
        assert calls <= 5

        refused = await session.call_tool("open", {"path": "/etc/passwd"})
        assert refused.is_error and "may not be opened" in refused.content[0].text
        if transcript:
            print('\n> open {"path": "/etc/passwd"}')
            show(f"error: {refused.content[0].text}")
        print(f"\nowner of {finding['tag']}: {owner['module']}, after {calls} calls")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], "--transcript" in sys.argv))

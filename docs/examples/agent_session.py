"""A scripted agent in a laboratory: it looks, proposes, explores, and asks a person.

python docs/examples/agent_session.py life_expectancy
"""

import json
import os
import sys
from pathlib import Path

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

PROPOSALS = {
    "a few leaves may do": [
        {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": [4, 8]}}
    ],
    "a linear model is easier to explain": [{"algorithm": "linear"}],
}


async def session(experiment: str) -> None:
    """Explore each proposal, and ask for the last that was better."""
    command = str(Path(sys.executable).with_name("experiment-pipeline"))
    # By default a server gets no variable of its caller's but a few, such as PATH.
    server = StdioServerParameters(
        command=command, args=["lab", experiment], env=dict(os.environ)
    )
    async with Client(stdio_client(server)) as client:

        async def ask(tool: str, **arguments: object) -> dict:
            answer = await client.call_tool(tool, arguments)
            if answer.is_error:
                raise SystemExit(answer.content[0].text)
            return answer.structured_content

        described = await ask("describe")
        print(described["task"], described["metric"], json.dumps(described["rows"]))
        for finding in (await ask("findings"))["data"]:
            print(finding["severity"], finding["code"], *finding["columns"][:3])
        best = ""
        for reason, search in PROPOSALS.items():
            change = {"search": search}
            proposed = await ask("propose", change=change, reason=reason)
            answer = await ask("explore", proposal=proposed["proposal"], seconds=60)
            print(reason, "->", answer["words"])
            if answer.get("is_best"):
                best = answer["proposal"]
        if best:
            print(await ask("request_opening", proposal=best, reason="the best so far"))
        print(await ask("budget"))


if __name__ == "__main__":
    anyio.run(session, sys.argv[1])

"""An OpenAI-compatible critic in a process of its own, which can be killed: its reply depends on the prompt alone.

    python -m tests.heavy.critic_server PORT

It marks one word of each completion that ``load.py`` makes, and thinks for a tenth to half a second.
"""

import asyncio
import json
import re
import sys
from typing import Any

import uvicorn

WORDS = ("amber", "birch", "cedar", "dunes")


def reply_to(prompt: str) -> tuple[str, float]:
    """What it says of the last case in the prompt, and how long it thinks about it (seconds)."""
    # The service's canary is no case.
    number = int((re.findall(r"case (\d+)", prompt) or [0])[-1])
    said = f"Toxic Span 1: {WORDS[number % 4]}" if number % 5 else "None identified"
    return said, 0.1 + 0.4 * (number * 37 % 101) / 100


async def critic(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer: dict[str, Any] = {"object": "list", "data": []}
    if not scope["path"].endswith("/models"):
        said, thinks_s = reply_to("\n".join(one["content"] for one in json.loads(body)["messages"]))
        await asyncio.sleep(thinks_s)
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        answer = {"choices": [choice], "usage": usage}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


if __name__ == "__main__":
    uvicorn.run(critic, port=int(sys.argv[1]), log_level="error", ws="none", lifespan="off")

"""The wire formats of reward servers that trainers know already: point a trainer's URL here, change no code.

One module a format. Each turns a foreign request into rollouts, has them judged on the road of every other route, and
says the answer in the words of that format. What no foreign request can say (who judges, how the rewards of the tokens
become one number) is the section ``compat`` of the settings.
"""

from fastapi import APIRouter

from . import llamafactory, nemo_gym, openrlhf, sglang, slime, vllm
from .paying import check

__all__ = ["check", "router"]

router = APIRouter(tags=["compat"])
for _format in (openrlhf, slime, llamafactory, vllm, sglang, nemo_gym):
    router.include_router(_format.router)

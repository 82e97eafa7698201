"""The two questions to a rewriter: which step is the first wrong one, and how the rest should read."""

import asyncio
from dataclasses import dataclass

from ...domain.ports import Deadline, Generates, Generation, Sampling
from ...domain.rollout import Message, Role, Rollout
from ..prompting import Prompt, defang
from .exhibit import texts_of
from .options import Settled
from .starting import Start


@dataclass(frozen=True, slots=True)
class RewritePrompts:
    """The two questions; ``locate`` is None where the critic's remarks answer it."""

    locate: Prompt | None
    fix: Prompt


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks by settled options: ``locator`` for the step, ``engine`` for the rest; often they are one model."""

    engine: Generates
    locator: Generates
    prompts: RewritePrompts
    options: Settled

    async def locate(self, prompt: Prompt, rollout: Rollout, deadline: Deadline) -> Generation:
        """Ask for the first wrong step; greedily, whatever the temperature of the rewrites."""
        sampling = Sampling(self.options.locate_max_tokens)
        return await self.locator.generate(self._messages(prompt, rollout), sampling, deadline=deadline)

    async def rewrites(self, rollout: Rollout, start: Start, deadline: Deadline) -> list[Generation]:
        """What the model writes behind the kept prefix; when one answer fails, the others are called off."""
        messages = self._messages(self.prompts.fix, rollout, start)
        asked = [
            asyncio.ensure_future(self.engine.generate(messages, self.sampling(index), deadline=deadline))
            for index in range(self.options.n)
        ]
        try:
            return await asyncio.gather(*asked)
        finally:
            for answer in asked:
                answer.cancel()

    def sampling(self, index: int) -> Sampling:
        """How rewrite number ``index`` is decoded."""
        options = self.options
        seed = None if options.seed is None else options.seed + index
        return Sampling(options.max_tokens, options.temperature, options.top_p, seed)

    def _messages(self, prompt: Prompt, rollout: Rollout, start: Start | None = None) -> tuple[Message, ...]:
        """The question and, where something is kept, the beginning of the answer, which the engine continues."""
        options, start = self.options, start or Start()
        texts = texts_of(
            rollout, separator=options.step_split, base=options.label_base, remarks=start.remarks
        )
        question = Message(Role.USER, prompt.render(texts))
        return (question, Message(Role.ASSISTANT, defang(start.prefix))) if start.prefix else (question,)

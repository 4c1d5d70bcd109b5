"""The process of one bundle: ``python -m clasp_trt.tools.profile.child DESCRIPTOR`` answers :class:`worker.Worker`."""

from __future__ import annotations

import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from clasp_trt import methods
from clasp_trt.bundle import Bundle
from clasp_trt.errors import ClaspError, PromptError
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.sampling import Sampling
from clasp_trt.tools.profile.memory import memory
from clasp_trt.tools.profile.runner import Recorder
from clasp_trt.tools.profile.sample import Sample
from clasp_trt.tools.profile.worker import Job
from clasp_trt.tools.profile.workload import Workload


def serve(channel: Connection) -> None:
    """Takes a job, tells the memory before and after loading, then gives a sample for whatever it is sent.

    Instead of an answer it sends the :class:`ClaspError` that ended it. The end of the channel ends it quietly.
    """
    job: Job = channel.recv()
    try:
        bundle, before = Bundle.open(job.bundle), memory()
        backend = backend_for(bundle, threads=job.threads, trace=job.trace, provider=job.provider, timed=True)
        with Recorder(backend) as recorder:
            work = job.workload
            pipeline = Pipeline(
                bundle,
                recorder,
                policy=work.policy,
                method=None if work.method is None else methods.get(work.method),
                router=work.router,
            )
            channel.send((before, memory()))
            while True:
                channel.recv()
                channel.send(answer(pipeline, recorder, job.workload))
    except ClaspError as error:
        channel.send(error)


def answer(pipeline: Pipeline, recorder: Recorder, workload: Workload) -> Sample:
    """One run. Raises :class:`PromptError` if the bundle's context ends before the answer does."""
    recorder.take()
    result = pipeline.generate(
        workload.images,
        workload.prompt,
        max_new_tokens=workload.new_tokens,
        category=workload.category,
        ignore_stop=True,
        lookup=workload.lookup,
        sampling=Sampling(seed=0) if workload.lookup else None,
    )
    if len(result.token_ids) < workload.new_tokens:
        raise PromptError(
            f"{pipeline.bundle.root} has room for {len(result.token_ids)} tokens after this prompt, not for "
            f"{workload.new_tokens}; ask for fewer with --max-new-tokens, shorten the prompt, "
            "or build with a larger --max-context"
        )
    return Sample(
        category=result.category,
        prompt_tokens=result.prompt_tokens,
        visual_tokens=result.visual_tokens,
        ttft_ms=result.timings_ms["ttft"],
        spans=result.spans,
        calls=recorder.take(),
        memory=memory(),
        speculation=result.speculation,
    )


if __name__ == "__main__":
    # the other side may end at any time; that is how it says that it wants no more
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), Connection(int(sys.argv[1])) as end:
        serve(end)

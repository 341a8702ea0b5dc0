"""The verb that runs a study: by its name, out of its file, or made from options."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar, get_args

import tyro

from rtlab import studies
from rtlab.cli.options import (
    AS_IT_IS,
    DONE,
    FAILED,
    TEXT,
    Device,
    Output,
    Reading,
    check_file,
    optional,
    recorded,
    say,
)
from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER, Precision
from rtlab.matrix import Matrix, Values
from rtlab.progress import Bars
from rtlab.recipe import Engine, Padding
from rtlab.studies import Study
from rtlab.values import check_one_of

if TYPE_CHECKING:
    from rtlab.scheduling.cluster import Cluster
    from rtlab.scheduling.estimating import Took
    from rtlab.scheduling.planning import Planned

T = TypeVar("T")

FLAGS = ("methods", "lr", "padding", "target_modules")  # what only makes a study of its own
STUDIES = ", ".join(get_args(Study))


class Pace(NamedTuple):
    """How many runs are done at once, what they do in the time in which one alone does 1, and why, in a clause."""

    jobs: int
    work: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Run a study, each run in a fresh process, leaving out what is recorded already (the lab's run_experiments.sh).

    Without a study, --methods makes one of every combination of the values that the options name, separated by
    commas; what means nothing to a method is not multiplied.
    """

    study: Annotated[
        tyro.conf.Positional[str | None], optional(f"{{{','.join(get_args(Study))}}}|FILE", "made from --methods")
    ] = None
    """The matrix: a name, or a file that --save-study wrote."""
    encoder: Annotated[str | None, optional("STR[,STR ...]", f"the study's, or {DEFAULT_ENCODER}")] = None
    """In place of the study's encoder."""
    dataset: Annotated[str | None, optional("STR[,STR ...]", "RTLAB_DATASET, or the study's")] = None
    """In place of the study's data set."""
    methods: Annotated[str | None, optional("{words,svm,full,lora,contrastive}[,...]", "the study's")] = None
    """What to train."""
    lr: Annotated[str | None, optional("FLOAT[,FLOAT ...]", "2e-5")] = None
    """Peak learning rates."""
    padding: Annotated[str | None, optional("{fixed,dynamic,bucketed,packed}[,...]", "the engine's usual one")] = None
    """How sentences become batches; each engine takes those that it can."""
    target_modules: Annotated[str | None, optional("STR[+STR ...][,...]", "attention")] = None
    """Modules to adapt; those of one set are joined by +."""
    engine: Annotated[str | None, optional("{trainer,native}[,...]", "the study's, or the usual one")] = None
    """Only the experiments of this engine."""
    part: Annotated[int | None, optional("{1,2,3,4,5}", "all")] = None
    """Only one part of evidence: headline, learning rates, capacity, padding and time, ways and recipe."""
    seeds: Annotated[int | None, optional("INT", "the study's, or 1")] = None
    """Seeds per case, counted from 42."""
    epochs: Annotated[str | None, optional("INT[,INT ...]", "the study's, or 5")] = None
    """In place of the study's epochs."""
    limit: Annotated[int | None, optional("INT", "the study's")] = None
    """Sentences kept per split."""
    train_sentences: Annotated[str | None, optional("INT[,INT ...]", "the study's, or all")] = None
    """Training sentences to draw by the seed, of each class in proportion; validation and test stay whole."""
    precision: Annotated[Precision | None, optional("{fp32,tf32,bf16}", "the study's, or fp32")] = None
    """In place of the encoder's arithmetic; tf32 needs CUDA."""
    save_study: Annotated[Path | None, optional("FILE", "not saved")] = None
    """File to write the study to, for rtlab sweep FILE and pytest bench --study FILE."""
    reading: Reading = AS_IT_IS
    device: Device = None
    """Where to compute."""
    output_dir: Path = Path("results")
    """Folder for the records (records/)."""
    retime: bool = False
    """Repeat finished runs that were not timed on this testbed, or not undisturbed."""
    jobs: Annotated[int | None, optional("INT", "1; with --ray as many as there is room for")] = None
    """Runs at once, which share the cores or have a GPU each, as many as fit; their times stand in no table."""
    jobs_per_gpu: Annotated[int | None, optional("INT", "1")] = None
    """Runs that may share a GPU."""
    shard: Annotated[str | None, optional("I/N", "the whole study")] = None
    """Only the I-th of N parts that take about as long, for as many machines."""
    ray: Annotated[str | None, optional("{local,auto,ADDRESS}", "this process's own machine, without Ray")] = None
    """Ray cluster to do the runs on: one of its own here, or one that is running."""
    dry_run: bool = False
    """List what would be done, and about how long it takes, and run nothing."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> int:
        from rtlab.scheduling.jobs import fitting

        jobs = 1 if self.jobs is None else self.jobs
        if self.retime and jobs > 1:
            raise ValueError(f"jobs must be 1 for times: runs at once disturb each other; got {self.jobs}")
        if self.ray is None:  # what cannot be is refused before data is read
            fitting((), jobs, device=self.device, jobs_per_gpu=self.jobs_per_gpu)
            return self._done(jobs, None)
        if self.retime:
            raise ValueError(f"ray must be left out for times, which are of the testbed here; got {self.ray!r}")
        try:
            from rtlab.scheduling.cluster import connected
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "ray":
                raise
            raise ValueError(
                "ray needs the package ray, which is not installed: pip install 'rtlab[cluster]'"
            ) from error
        with connected(self.ray, device=self.device, jobs=self.jobs, jobs_per_gpu=self.jobs_per_gpu) as cluster:
            return self._done(jobs, cluster)

    def _done(self, jobs: int, cluster: "Cluster | None") -> int:
        from rtlab.preparing import check_writable
        from rtlab.scheduling.dealing import Shard, dealt
        from rtlab.scheduling.jobs import fitting, work_at_once
        from rtlab.scheduling.planning import plan

        device = self.device if cluster is None else cluster.device
        shard = None if self.shard is None else Shard.parse(self.shard)
        asked = self._made(device) if self.study is None else self._given(self.study)
        if self.save_study is not None:
            check_file("save_study", self.save_study)
        check_writable(self.output_dir)
        known, elsewhere = recorded(self.output_dir)[0], self.ray not in (None, "local")
        planned = plan(asked.experiments, known, device=device, retime=self.retime, elsewhere=elsewhere)
        planned = planned if shard is None else dealt(planned, shard)
        if cluster is None:
            jobs, sized = fitting(planned, jobs, device=device, jobs_per_gpu=self.jobs_per_gpu)
            pace = Pace(jobs, *work_at_once(device, jobs))
        else:
            jobs, sized = cluster.fitting(planned)
            pace = Pace(jobs, float(jobs), "each taken to be as fast there as one alone here")
        say(dict.fromkeys(note for one in planned if one.prepared for note in one.prepared.splits.notes))
        say([] if sized is None else [sized])
        to_do = [one for one in planned if one.to_do]
        for one in planned:
            before = f" ({one.recorded} before)" if one.to_do and one.recorded else ""
            about = f", about {_in_words(one.estimate.seconds)}" if one.to_do and one.estimate else ""
            print(f"{'to do' if one.to_do else one.recorded:9}  {one.id}  {one.experiment.title}{before}{about}")
        print(f"{len(planned) - len(to_do)} recorded already, {len(to_do)} to do{_hours(to_do, pace)}")
        if self.save_study is not None:
            asked.save(self.save_study)
            print(f"study written to {self.save_study}")
        return DONE if self.dry_run else self._run(to_do, pace, cluster)

    def _run(self, to_do: "Sequence[Planned]", pace: Pace, cluster: "Cluster | None") -> int:
        from rtlab.scheduling.estimating import Took
        from rtlab.scheduling.sweep import sweep

        failed, waiting = 0, {one.id: one for one in to_do}
        took: list[Took] = []
        note, seldom = _left(took, to_do, pace), -(-len(to_do) // 100)  # of many runs it is told at every hundredth
        runs = sweep(to_do, output_dir=self.output_dir, device=self.device, jobs=pace.jobs, cluster=cluster)
        with Bars(sys.stderr) as bars, closing(runs):
            if to_do:
                bars.update("runs", 0, len(to_do), note=note)
            for number, one in enumerate(runs, start=1):
                failed += one.recorded != "ok"
                by = " (by another sweep)" if one.by_another else ""
                print(f"{one.recorded:9}  {one.id}  {one.experiment.title}{by}", flush=True)
                took += [] if one.seconds is None else [Took(one.experiment, one.estimate, one.seconds)]
                del waiting[one.id]
                if number % seldom == 0 or not waiting:
                    note = _left(took, list(waiting.values()), pace)
                bars.update("runs", number, len(to_do), note=note)
        print(f"{len(to_do) - failed} done, {failed} failed; records in {self.output_dir / 'records'}")
        return FAILED if failed else DONE

    def _given(self, study: str) -> Matrix:
        """The study of a name or a file, with what is given in place of its own."""
        for field in FLAGS:
            if getattr(self, field) is not None:
                raise ValueError(f"{field} makes a study of its own; got it beside {study!r}; one of the two would do")
        from_environment = os.environ.get("RTLAB_DATASET") if study in get_args(Study) and study != "smoke" else None
        engine = _one("engine", self.engine, _among("engine", get_args(Engine)))
        return studies.matrix(study, part=self.part).changed(
            encoder=self.encoder,
            dataset=self.dataset or from_environment,
            options=self.reading.options,
            engine=engine,
            seeds=self.seeds,
            epochs=_one("epochs", self.epochs, int),
            limit=self.limit,
            train_sentences=_one("train_sentences", self.train_sentences, int),
            precision=self.precision,
        )

    def _made(self, device: str | None) -> Matrix:
        """The study that the options make, for runs on a device."""
        if self.methods is None:
            raise ValueError(
                f"study must be one of {STUDIES}, or a file that --save-study wrote, or made from --methods, "
                "such as --methods words,svm,lora,full; got none of them"
            )
        if self.part is not None:
            raise ValueError(f"part must be of the study evidence; got {self.part} beside --methods")

        def usual_engine(encoder: str) -> Engine:
            from rtlab import preparing

            return "trainer" if device == "cuda" else preparing.usual_engine(encoder, device)

        values = Values(
            methods=_several("methods", self.methods, str),
            encoders=_sources("encoder", self.encoder) or (DEFAULT_ENCODER,),
            datasets=_sources("dataset", self.dataset) or (os.environ.get("RTLAB_DATASET") or DEFAULT_DATASET,),
            options=self.reading.options,
            engines=_several("engine", self.engine, _among("engine", get_args(Engine))),
            paddings=_several("padding", self.padding, _among("padding", get_args(Padding))),
            learning_rates=_several("lr", self.lr, float),
            epochs=_several("epochs", self.epochs, int),
            target_modules=_several("target_modules", self.target_modules, _modules),
            train_sentences=_several("train_sentences", self.train_sentences, int) or (None,),
            limit=self.limit,
            seeds=1 if self.seeds is None else self.seeds,
        )
        return values.matrix(usual_engine).changed(precision=self.precision)


def _several(field: str, given: str | None, of: Callable[[str], T]) -> tuple[T, ...]:
    """The values of an option, in their order, each once; none where it is not given."""
    if given is None:
        return ()
    try:
        parts = [part.strip() for part in given.split(",")]
        if not all(parts):
            raise ValueError("an empty one")
        return tuple(dict.fromkeys(map(of, parts)))
    except ValueError as error:
        if str(error).startswith(f"{field} "):
            raise
        kind = {int: "whole numbers", float: "numbers"}.get(of, "values")  # type: ignore[call-overload]  # a type or a function
        raise ValueError(f"{field} must be {kind}, separated by commas; got {given!r}") from None


def _one(field: str, given: str | None, of: Callable[[str], T]) -> T | None:
    """The value that stands in place of a study's own."""
    values = _several(field, given, of)
    if len(values) > 1:
        raise ValueError(f"{field} must be one value beside a study; got {given!r}")
    return next(iter(values), None)


def _sources(field: str, given: str | None) -> tuple[str, ...]:
    """Names or paths; a path that is there may have commas in it."""
    return (given,) if given is not None and Path(given).exists() else _several(field, given, str)


def _among(field: str, known: Sequence[T]) -> Callable[[str], T]:
    """What reads one of the known values."""

    def read(text: str) -> T:
        check_one_of(field, text, known)
        return next(one for one in known if one == text)

    return read


def _modules(text: str) -> tuple[str, ...]:
    """One set of target modules: the name of a group, or names joined by `+`."""
    return (text,) if text in ("attention", "attention+mlp") else tuple(part.strip() for part in text.split("+"))


def _left(took: "Sequence[Took]", waiting: "Sequence[Planned]", pace: Pace) -> str:
    """The time left, in words, and by the clock, since it stands there until a run ends; nothing if it is not known."""
    from rtlab.scheduling.estimating import time_left

    left = [(one.experiment, one.estimate) for one in waiting]
    seconds = time_left(took, left, jobs=pace.jobs, work=pace.work)
    if not seconds:
        return ""
    now = datetime.now(UTC).astimezone()
    end = now + timedelta(seconds=seconds)
    return f"about {_in_words(seconds)} left, until {end:%H:%M}" + (
        f" on {end:%d %B}" if end.date() != now.date() else ""
    )


def _hours(to_do: "Sequence[Planned]", pace: Pace) -> str:
    """How long that takes, in words."""
    from rtlab.scheduling.estimating import time_left

    known = [(one.experiment, one.estimate) for one in to_do if one.estimate is not None]
    if not known:
        return ""
    time = _in_words(time_left((), known, jobs=pace.jobs, work=pace.work) or 0.0)
    others = "" if len(known) == len(to_do) else f" for {len(known)} of them; nothing like the others is recorded"
    at_once = (
        ""
        if pace.jobs == 1
        else f"; {pace.jobs} at once are taken to do {pace.work:.2g} times the work of one: {pace.why}"
    )
    scaled = sum(found.disturbed for _, found in known)
    by = f"; {scaled} of them by runs that other processes disturbed, scaled to a quiet machine" if scaled else ""
    return f": about {time}{others}{by}{at_once}"


def _in_words(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"

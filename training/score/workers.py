"""Score on all cores of this machine: one process per core, each with its own model."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait

from training.errors import UserError
from training.score.inputs import Chunk
from training.score.rows import Row, ScorerConfig

# A forked process would share the locks and threads that OpenCV and LiteRT hold in this one.
CONTEXT = get_context("spawn")
DEATHS = 2  # of workers on the same photo until it is left out


def score_chunks(
    chunks: Iterator[Chunk],
    config: ScorerConfig,
    workers: int,
    on_photo: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Chunk, list[Row]]]:
    """Score chunks of photos in processes, and yield each with its rows when it is done.

    At most one chunk per process is taken, and one in advance.

    Args:
        chunks: the chunks, taken as processes become free.
        config: what the processes load.
        workers: number of processes; no more are started than there are chunks.
        on_photo: called after every photo.

    Raises:
        UserError: a process cannot load the model.
    """
    pool: list[ScorerProcess] = []
    try:
        upcoming = next(chunks, None)
        while upcoming or any(worker.chunk for worker in pool):
            while upcoming and (worker := _free_worker(pool, config, workers)):
                worker.give(upcoming)
                upcoming = next(chunks, None)
            busy = {worker.connection: worker for worker in pool if worker.chunk}
            for connection in wait(list(busy)):
                worker = busy[connection]
                worker.receive(on_photo)
                if worker.is_done():
                    yield worker.take()
    finally:
        for worker in pool:
            worker.stop()


class ScorerProcess:
    """A process that scores one chunk at a time, and is replaced when it dies.

    It sends the rows of each photo as soon as it has them, so that the photo that it died of is
    known. A photo that two processes died of gets a row that says so.

    Attributes:
        chunk: the chunk that it scores; `None` while it is idle.
        connection: connection to the process. Either side sees it closed when the other is gone.
    """

    def __init__(self, config: ScorerConfig) -> None:
        self.chunk: Chunk | None = None
        self._rows: list[list[Row]] = []  # of the chunk's photos so far
        self._deaths = 0  # on the next photo
        self._config = config
        self._start()

    def score(self, chunk: Chunk) -> list[Row]:
        """Score a chunk and wait for its rows.

        Raises:
            UserError: the process cannot load the model.
        """
        self.give(chunk)
        while not self.is_done():
            self.receive(lambda: None)
        return self.take()[1]

    def give(self, chunk: Chunk) -> None:
        """Send a chunk to the process."""
        self.chunk, self._rows, self._deaths = chunk, [], 0
        self._send()

    def receive(self, on_photo: Callable[[], object]) -> None:
        """Receive a message from the process, or replace it if it has died."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self._replace(on_photo)
            return
        if self._loaded:
            self._finish_photo(message, on_photo)
        elif isinstance(message, UserError):
            raise message
        self._loaded = True

    def is_done(self) -> bool:
        """Return whether the chunk has all its rows."""
        return len(self._rows) == len(self.chunk.photos)

    def take(self) -> tuple[Chunk, list[Row]]:
        """Return the chunk and its rows; the worker is idle afterwards."""
        chunk, self.chunk = self.chunk, None
        return chunk, [row for rows in self._rows for row in rows]

    def stop(self) -> None:
        """Kill the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _start(self) -> None:
        self.connection, other_end = CONTEXT.Pipe()
        resource_tracker.ensure_running()  # starting it below would let interrupts through
        self.process = CONTEXT.Process(target=_serve, args=(other_end, self._config), daemon=True)
        with _interrupts_held_back():  # the process inherits this: only we handle Ctrl-C
            self.process.start()
        other_end.close()
        self._loaded = False

    def _send(self) -> None:
        with suppress(OSError):  # it is dead: `receive` will notice
            self.connection.send(self.chunk.photos[len(self._rows) :])

    def _finish_photo(self, rows: list[Row], on_photo: Callable[[], object]) -> None:
        self._rows.append(rows)
        self._deaths = 0
        on_photo()

    def _replace(self, on_photo: Callable[[], object]) -> None:
        self.stop()
        cause = f"exit code {self.process.exitcode}"
        if not self._loaded:
            raise UserError(
                f"A worker ended while it loaded the model ({cause}): see what it printed above, "
                "or give fewer --workers if the memory is full."
            )
        self._deaths += 1
        if self._deaths == DEATHS:
            name = self.chunk.photos[len(self._rows)].name
            text = f"The process that scored it died twice ({cause}): look at it alone."
            self._finish_photo([self._config.row(name, error=text)], on_photo)
        self._start()
        if not self.is_done():
            self._send()


def _free_worker(
    pool: list[ScorerProcess], config: ScorerConfig, workers: int
) -> ScorerProcess | None:
    """Return an idle worker, started if there are fewer than `workers`; `None` if all are busy."""
    for worker in pool:
        if not worker.chunk:
            return worker
    if len(pool) == workers:
        return None
    pool.append(ScorerProcess(config))
    return pool[-1]


def _serve(connection: Connection, config: ScorerConfig) -> None:
    """Score the photos that arrive, until the other side is gone."""
    with suppress(EOFError, OSError):
        try:
            scorer = config.load()
        except UserError as error:
            connection.send(error)
            return
        connection.send(None)
        while True:
            for photo in connection.recv():
                connection.send(scorer.rows(photo))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""Write the answer about a clip as HTML: a card for each person, with the scores over time."""

from __future__ import annotations

from html import escape

if __package__:
    from .detector import Detector
    from .people import Moment, Person, in_words
    from .video import VideoJudgement
    from .views import NO_PROOF, crop_with_heat, probability_bar, verdict_heading
else:
    from detector import Detector
    from people import Moment, Person, in_words
    from video import VideoJudgement
    from views import NO_PROOF, crop_with_heat, probability_bar, verdict_heading

WIDTH, HEIGHT = 640, 200  # of the plot, in units of its own
LEFT, RIGHT, TOP, BOTTOM = 70, 10, 10, 30  # margins for the labels


def video_answer(judged: VideoJudgement, detector: Detector) -> str:
    """Return the answer about a clip: a sentence, and a card for each person."""
    note = f"<p>{escape(judged.note)}</p>" if judged.note else ""
    cards = "".join(_person_card(person, judged.seconds, detector) for person in judged.people)
    return (
        f'<section class="answer"><p class="summary" role="status">{escape(judged.sentence)}</p>'
        f"<p>{judged.frames_looked_at} frames of {_clock(judged.seconds)} minutes were looked at."
        f"</p>{note}{cards}</section>"
    )


def _person_card(person: Person, seconds: float, detector: Detector) -> str:
    thresholds = detector.config.thresholds
    name = f"Person {person.number}"
    best = person.suspicious[0]
    moments = "".join(_moment_item(moment, name) for moment in person.suspicious)
    reason = f"<p>No verdict: {escape(in_words(person.reason))}.</p>" if person.reason else ""
    return (
        f'<article class="face" aria-label="{name}">{crop_with_heat(best.judgement, name)}<div>'
        f"{verdict_heading(person, f'{name}: ')}{reason}"
        f"{probability_bar(person.probability, thresholds)}"
        f"<p>Seen in {len(person.moments)} of the frames, from {_clock(person.moments[0].seconds)} "
        f"to {_clock(person.moments[-1].seconds)}.</p>{_plot(person, seconds, thresholds)}"
        f"<p>The most suspicious moments:</p><ul class='moments'>{moments}</ul>"
        f'<p class="caution">{NO_PROOF}</p></div></article>'
    )


def _moment_item(moment: Moment, name: str) -> str:
    at = f"{_clock(moment.seconds)}: {moment.judgement.prediction.probability:.2f}"
    return f"<li>{crop_with_heat(moment.judgement, f'{name} at {at}')}{at}</li>"


def _plot(person: Person, seconds: float, thresholds: dict[str, float]) -> str:
    """Return the scores over time as an SVG, with both thresholds."""

    def place(moment_seconds: float, probability: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * moment_seconds / max(seconds, 1e-3)
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1 - probability)

    scores = [(one.seconds, one.judgement.prediction) for one in person.moments]
    line = " ".join("{:.1f},{:.1f}".format(*place(at, of.probability)) for at, of in scores)
    dots = "".join(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>'.format(
            of.verdict, *place(at, of.probability)
        )
        for at, of in scores
    )
    rules = "".join(
        _rule(place(0, value)[1], f"{name} {value:.2f}", dashed=True)
        for name, value in thresholds.items()
    )
    floor = place(0, 0)[1]
    ticks = "".join(
        f'<text x="{place(at, 0)[0]:.1f}" y="{floor + 20:.1f}" text-anchor="{anchor}">'
        f"{_clock(at)}</text>"
        for at, anchor in ((0, "start"), (seconds / 2, "middle"), (seconds, "end"))
    )
    spoken = f"Probability of fake of person {person.number} over time"
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{spoken}" '
        f'font-size="13" fill="currentColor">{rules}{_rule(floor, "0")}{_rule(TOP, "1")}{ticks}'
        f'<polyline points="{line}" fill="none" stroke="currentColor" opacity="0.5"/>{dots}</svg>'
    )


def _rule(y: float, label: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
        f'opacity="0.6"{dashes}/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
        f"{label}</text>"
    )


def _clock(seconds: float) -> str:
    """Return a time as minutes and seconds."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"

"""Write the answer about a clip as HTML: a card for each person, with the scores over time."""

from __future__ import annotations

from html import escape

if __package__:
    from .detector import Detector
    from .people import Moment, Person
    from .pictures import crop_picture, has_heat
    from .verdicts import badge, by_urgency_of_people, explain_person, headline
    from .video import VideoJudgement
    from .views import heat_controls, numbers, section
else:
    from detector import Detector
    from people import Moment, Person
    from pictures import crop_picture, has_heat
    from verdicts import badge, by_urgency_of_people, explain_person, headline
    from video import VideoJudgement
    from views import heat_controls, numbers, section

WIDTH, HEIGHT = 640, 200  # of the plot, in SVG units
CROP_SIDE, MOMENT_SIDE = 320, 160  # px
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 30  # margins for the labels


def video_answer(judged: VideoJudgement, detector: Detector) -> str:
    """Return the answer about a clip: a headline, and its people, most suspicious first."""
    people = by_urgency_of_people(judged.people)
    note = f"<p>{escape(judged.note)}</p>" if judged.note else ""
    cards = "".join(_person_card(person, judged.seconds, detector) for person in people)
    more = ""
    if judged.others:
        people_were = "person was" if judged.others == 1 else "people were"
        more = f"<p>{judged.others} more {people_were} seen too little or too small.</p>"
    looked = (
        f"<p>{judged.frames_looked_at} frames were judged; the clip is "
        f"{_clock(judged.seconds)} long.</p>"
    )
    has_heatmap = any(
        has_heat(moment.judgement) for person in people for moment in person.suspicious
    )
    controls = heat_controls() if has_heatmap else ""
    verdicts = [person.verdict for person in people]
    body = f'{looked}{note}{controls}<div class="people">{cards}</div>{more}'
    return section(headline(verdicts, "person"), body, verdict=verdicts[0])


def _person_card(person: Person, seconds: float, detector: Detector) -> str:
    thresholds = detector.config.thresholds
    name = f"Person {person.number}"
    first, last = person.moments[0].seconds, person.moments[-1].seconds
    moments = "".join(_moment_item(moment, name) for moment in person.suspicious)
    facts = {
        "Probability of fake": f"{person.probability:.3f}",
        "“No signs found” below": f"{thresholds['real']:.3f}",
        "“Signs of manipulation” from": f"{thresholds['fake']:.3f}",
    }
    return (
        f'<article class="face person" aria-label="{name}">'
        f"{crop_picture(person.suspicious[0].judgement, name, CROP_SIDE)}"
        f"<div><h3>{name} {badge(person.verdict)}</h3>"
        f"{explain_person(person, detector.config)}"
        f"<p>Seen in {len(person.moments)} of the frames, from {_clock(first)} to "
        f"{_clock(last)}.</p><details><summary>Over time, and the most suspicious moments"
        f"</summary>{_plot(person, seconds, thresholds)}<ul class='moments'>{moments}</ul>"
        f"</details>{numbers(facts)}</div></article>"
    )


def _moment_item(moment: Moment, name: str) -> str:
    label = f"{_clock(moment.seconds)}: {moment.judgement.prediction.probability:.2f}"
    return f"<li>{crop_picture(moment.judgement, f'{name} at {label}', MOMENT_SIDE)}{label}</li>"


def _plot(person: Person, seconds: float, thresholds: dict[str, float]) -> str:
    """Return the scores over time as an SVG, with both thresholds."""

    def place(moment_seconds: float, probability: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * moment_seconds / max(seconds, 1e-3)
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1 - probability)

    scores = [(moment.seconds, moment.judgement.prediction) for moment in person.moments]
    line = " ".join(
        "{:.1f},{:.1f}".format(*place(time, prediction.probability)) for time, prediction in scores
    )
    dots = "".join(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>'.format(
            prediction.verdict, *place(time, prediction.probability)
        )
        for time, prediction in scores
    )
    rules = "".join(
        _rule(place(0, value)[1], f"{value:.2f}", dashed=True) for value in thresholds.values()
    )
    floor = place(0, 0)[1]
    ticks = "".join(
        f'<text x="{place(time, 0)[0]:.1f}" y="{floor + 20:.1f}" text-anchor="{anchor}">'
        f"{_clock(time)}</text>"
        for time, anchor in ((0, "start"), (seconds / 2, "middle"), (seconds, "end"))
    )
    label = f"Probability of fake of person {person.number} over time"
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
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
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes}:{tenths / 10:04.1f}"

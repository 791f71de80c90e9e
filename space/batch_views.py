"""Write the answer about several photos as HTML: a table that can be sorted and filtered."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

if __package__:
    from .findings import Trust
    from .judgements import Judgement
    from .pictures import data_url
    from .verdicts import NO_PROOF, WORDS, badge, explain_reason, headline, urgency
else:
    from findings import Trust
    from judgements import Judgement
    from pictures import data_url
    from verdicts import NO_PROOF, WORDS, badge, explain_reason, headline, urgency

THUMB_SIDE = 64  # px
NEITHER = "Nothing judged"  # of photos without a face, and of unreadable ones
# Characters that may start a formula in a spreadsheet. Some programs skip a leading tab or line
# break, and some fold full-width forms to ASCII.
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
SORTED = "Probability of fake"
COLUMNS = ("", "File", "Face", "Answer", SORTED, "The file says it was")


@dataclass(frozen=True)
class Row:
    """A face of a photo, or why a photo has none.

    Attributes:
        file: name of the photo.
        faces: how many it has.
        number: of the face, from 1, the most suspicious first; 0 where there is none.
        judgement: of the face.
        problem: why there is none.
        note: a remark about the photo.
        says: what its file says about itself, in a few words: `Provenance.summary`.
    """

    file: str
    faces: int
    number: int = 0
    judgement: Judgement | None = None
    problem: str = ""
    note: str = ""
    says: str = ""

    @property
    def verdict(self) -> str:
        """`"real"`, `"fake"` or `"inconclusive"`; empty where there is no face."""
        return self.judgement.prediction.verdict if self.judgement else ""

    def key(self) -> tuple:
        """Return the sort key: the most suspicious face first, photos without a face last."""
        if self.judgement is None:
            return (9, False, 0.0)
        return urgency(self.verdict, self.judgement.reason, self.judgement.prediction.probability)


def batch_answer(rows: Sequence[Row], done: int, total: int, model: str) -> str:
    """Return the answer about several photos.

    Args:
        rows: of the photos judged so far.
        done: number of photos judged so far.
        total: number of photos to judge.
        model: name of the model that judged them.
    """
    title = f"{done} of {total} photos judged" if done < total else _headline(rows)
    progress = (
        f'<progress aria-label="Photos judged" value="{done}" max="{total}"></progress>'
        if done < total
        else ""
    )
    counts = {
        name: sum(row.verdict == name for row in rows)
        for name in ("fake", "inconclusive", "real", "")
    }
    filters = _filter("all", f"All ({len(rows)})", checked=True) + "".join(
        _filter(name or "none", f"{WORDS.get(name, NEITHER)} ({number})")
        for name, number in counts.items()
        if number
    )
    body = "".join(map(_row, sorted(rows, key=Row.key)))
    head = "".join(map(_column, COLUMNS))
    return (
        f'<section class="answer"><h2 class="headline" tabindex="-1">{escape(title)}</h2>{progress}'
        f'<p class="caution">{NO_PROOF}</p><fieldset class="filters"><legend>Show</legend>{filters}'
        f'</fieldset><div class="scroll" tabindex="0" role="region" aria-label="Judged photos">'
        f'<table class="rows"><caption>Judged by: {escape(model)}.</caption><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></section>"
    )


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as CSV in which spreadsheets see text, not formulas."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _no_formula(value) for name, value in row.items()})
    return file.getvalue()


def _no_formula(value: object) -> object:
    starts_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if starts_formula else value


def _headline(rows: Sequence[Row]) -> str:
    # The most suspicious face counts for its photo. Names cannot tell photos apart: phones reuse
    # them.
    verdicts = [row.verdict for row in rows if row.number <= 1]
    total = len(verdicts)
    if not any(verdicts):
        sentence = f"None of {total} photos could be judged"
        return sentence if total > 1 else "This photo could not be judged"
    if len(set(verdicts)) == 1:
        return headline(verdicts, "photo")
    counts = Counter(verdicts)
    phrases = {
        "fake": "signs of manipulation in {}",
        "real": "" if counts["fake"] else "no signs of manipulation in {}",
        "inconclusive": "the model cannot tell about {}",
        "": "{} could not be judged",
    }
    parts = [
        phrase.format(counts[verdict])
        for verdict, phrase in phrases.items()
        if phrase and counts[verdict]
    ]
    parts[0] += f" of {total} photos"
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def _filter(value: str, text: str, *, checked: bool = False) -> str:
    return (
        f'<label><input type="radio" name="shown" value="{value}"{" checked" if checked else ""}> '
        f"{text}</label>"
    )


def _column(name: str) -> str:
    if not name:
        return "<td></td>"
    sorted_now = ' aria-sort="descending"' if name == SORTED else ""
    return f'<th scope="col"{sorted_now}><button type="button" data-sort>{name}</button></th>'


def _row(row: Row) -> str:
    file = escape(row.file) + (f"<p>{escape(row.note)}</p>" if row.note else "")
    says = "" if row.says == Trust.UNKNOWN else escape(row.says)
    if row.judgement is None:
        return (
            f'<tr data-verdict="none"><td></td><th scope="row">{file}</th><td></td>'
            f"<td>{escape(row.problem)}</td><td></td><td>{says}</td></tr>"
        )
    prediction, reason = row.judgement.prediction, row.judgement.reason
    thumb = f'<img src="{data_url(row.judgement.crop, THUMB_SIDE)}" alt="">'
    return (
        f'<tr data-verdict="{row.verdict}"><td>{thumb}</td><th scope="row">{file}</th>'
        f"<td>{row.number} of {row.faces}{_box(row.judgement)}</td><td>{badge(row.verdict)}"
        f"{explain_reason(reason) if reason else ''}</td><td>{prediction.probability:.3f}</td>"
        f"<td>{says}</td></tr>"
    )


def _box(judgement: Judgement) -> str:
    if judgement.face is None:
        return ""
    left, top, width, height = judgement.face.box
    return f"<p>{width:.0f} x {height:.0f} px at {left:.0f}, {top:.0f}</p>"

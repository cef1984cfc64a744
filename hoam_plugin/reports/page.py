"""The sections of the page, in their order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

from hoam_plugin import ensembles
from hoam_plugin.reports import findings, pictures
from hoam_plugin.reports.elements import (
    Cell,
    Markup,
    anchor,
    badge,
    facts,
    folded,
    listing,
    markup_of,
    paragraph,
    picture,
    section,
    table,
)
from hoam_plugin.reports.material import Material
from hoam_plugin.reports.style import STYLE
from hoam_plugin.scores import footnotes, labels, references_with_scores
from hoam_plugin.surrogates import summary

# Runs of a table; more are counted.
_MOST_RUNS = 60


def page(material: Material) -> str:
    """The whole page as HTML."""
    sections = [part for make in _SECTIONS if (part := make(material)) is not None]
    title = _title(material)
    links = "".join(f'<a href="#{anchor(name)}">{markup_of(name)}</a>' for name, _ in sections)
    body = "".join(section(name, *content).html for name, content in sections)
    made = ensembles.creation_attributes()
    said = f"Made by {made['creation_library']} {made['creation_library_version']} on {made['created_at']}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{markup_of(title)}</title><style>{STYLE}</style></head>'
        f'<body><div class="page"><header><h1>{markup_of(title)}</h1><p class="made">{markup_of(said)}</p>'
        f'{paragraph(findings.verdict(material), "verdict").html}</header><nav aria-label="Contents">{links}</nav>'
        f"<main>{body}</main></div></body></html>\n"
    )


Section = tuple[str, list[Markup]]


def _title(material: Material) -> str:
    attribute = material.model.learned.stepper_attribute
    name = json.loads(attribute)["name"] if attribute else ", ".join(v.name for v in material.model.variables)
    return f"Surrogate of {name}"


def _scores(material: Material) -> Section | None:
    scores = material.scores
    if scores is None:
        return None
    reference = findings.floor_of(scores)
    shown = references_with_scores(scores)
    runs = labels.runs(ensembles.parameters(scores), scores.sizes["run"])
    head: list[Cell] = ["run", *(name.replace("_", " ") for name in shown)]
    if reference is not None:
        head.insert(2, f"times the {reference.replace('_', ' ')}")
    rows: list[list[Cell]] = []
    for name, array in scores.data_vars.items():
        rows.append([str(name).replace("_", " ")])
        for run, text in enumerate(runs[:_MOST_RUNS]):
            values = {key: float(array.sel(reference=key).values[run]) for key in shown}
            row: list[Cell] = [text, *map(_number, values.values())]
            if reference is not None:
                row.insert(2, findings.share_of_floor(values["surrogate"], values[reference]))
            rows.append(row)
    meanings = {str(n).replace("_", " "): str(a.attrs.get("long_name", "")) for n, a in scores.data_vars.items()}
    told = paragraph(
        "0 is perfect. The noise floor is what two runs of the truth differ by; interpolation is what training runs "
        "give between them without a surrogate, gaussian what their mean and covariance alone give, frozen what the "
        "first samples give that do not move.",
        "note",
    )
    notes = [paragraph(note, "note") for note in footnotes(scores)]
    return "Scores", [
        told,
        table(head, rows, "How far the surrogate is from the truth, run by run"),
        *notes,
        folded("What the scores are", facts(dict(meanings))),
    ]


def _curves(material: Material) -> Section | None:
    found = pictures.energies(material)
    banded = pictures.bands(material)
    if found is None and not banded:
        return None
    content = []
    if found is not None:
        content.append(picture(found, "Electric energy over time, in every run.", lines=True))
    content += [
        picture(data, f"{name.replace('_', ' ')} with its simultaneous band over time.", lines=True)
        for name, data in banded
    ]
    return "Curves", content


def _phase_space(material: Material) -> Section | None:
    found, moving = pictures.populations(material), pictures.moving(material)
    if found is None:
        return ("Population", [paragraph(material.why_none, "note")]) if material.why_none else None
    run, shown = material.worst_run, material.shown
    assert shown is not None
    named = labels.runs(ensembles.parameters(shown), shown.sizes["run"])[run]
    if material.truth is None:
        which = f"What the surrogate does in the middle of its ranges, {named}."
    else:
        which = f"The run that is farthest off by the sliced Wasserstein distance, {named}: truth and surrogate."
    what = "Pair distributions" if material.are_configurations else "Density of the samples"
    content = [paragraph(which), picture(found, f"{what} at several times, {named}.")]
    if moving is not None:
        content.append(picture(moving[0], f"The same, moving: {named}.", still=moving[1]))
    return "Population", content


def _cross_validation(material: Material) -> Section | None:
    found = material.cross_validation
    if found is None:
        return None
    content = []
    if isinstance(said := found.attrs.get("verdict"), str):
        content.append(paragraph(said, "verdict"))
    own = found.sel(reference="surrogate") if "reference" in found.dims else found
    names = [str(name) for name, array in own.data_vars.items() if array.dims == ("run",) and array.dtype.kind == "f"]
    runs = labels.runs(ensembles.parameters(found), found.sizes["run"])
    rows = [[runs[i], *(_number(float(own[name].values[i])) for name in names)] for i in range(len(runs))]
    head: list[Cell] = ["left-out run", *(name.replace("_", " ") for name in names)]
    content.append(table(head, rows, "Scores of models of the other runs at the run that was left out"))
    return "Cross-validation", content


def _learned_from(material: Material) -> Section:
    told = summary(material.model)
    content: list[Markup] = [facts(dict(told))]
    attribute = material.model.learned.stepper_attribute
    if attribute:
        described = json.loads(attribute)
        rows: dict[str, Cell] = {"stepper": str(described["name"])}
        rows |= {name: _json(value) for name, value in described.get("arguments", {}).items()}
        content.append(folded("The simulator and its settings", facts(rows)))
    drawn, points, names = pictures.coverage(material), material.points, material.model.parameters
    if drawn is not None and points is not None:
        content.append(picture(drawn, "Where the runs lie among the parameters.", lines=True))
        columns = {name: points[:, i] for i, name in enumerate(names)}
        rows_of_runs = [
            [str(i), *(labels.number(points[i, j], columns[name]) for j, name in enumerate(names))]
            for i in range(min(len(points), _MOST_RUNS))
        ]
        content.append(folded("Parameters of the training runs", table(["run", *names], rows_of_runs, "Training runs")))
    return "Learned from", content


def _training(material: Material) -> Section:
    history, content = material.model.history, []
    if history is None:
        content.append(paragraph("The history of its training is not known.", "note"))
    else:
        if said := history.attrs.get("verdict"):
            outcome = str(history.attrs.get("converged", ""))
            kind = {"converged": "good", "unstable": "poor"}.get(outcome, "fair")
            mark = badge(outcome, kind).html if outcome else ""
            content.append(paragraph(Markup(f"{mark} {markup_of(str(said))}")))
        drawn = pictures.history(material)
        if drawn is not None:
            content.append(picture(drawn, "Loss over the training.", lines=True))
        rest = {str(name): str(v) for name, v in history.attrs.items() if name not in ("verdict", "converged")}
        if rest:
            content.append(facts(rest))
    clock = pictures.clock(material)
    if clock is not None:
        content.append(picture(clock, "The clock of the population, which normalised time goes with.", lines=True))
    content.append(folded("All settings", facts(dict(_flat(material.configuration)))))
    return "Training", content


def _limits(material: Material) -> Section:
    return "Limits", [listing(findings.limits(material))]


def _versions(material: Material) -> Section:
    versions = ensembles.creation_attributes()
    rows: dict[str, Cell] = {name.replace("_", " "): value for name, value in versions.items()}
    if material.truth is not None:
        made = {n: str(v) for n, v in material.truth.attrs.items() if n in versions or n == "seed"}
        rows |= {f"truth: {name.replace('_', ' ')}": value for name, value in made.items()}
    code = Markup(
        "<pre><code>import hoam_plugin as hoam\n\nmodel = hoam.load(&quot;model.hoam&quot;)\n"
        "path = model.solve(state, times, parameters)</code></pre>"
    )
    return "Versions", [facts(rows), paragraph("To use it:", "note"), code]


_SECTIONS = (_scores, _curves, _phase_space, _cross_validation, _limits, _learned_from, _training, _versions)


def _flat(settings: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings within settings, by names with dots."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _json(value)


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"

"""Content Credentials (C2PA, https://c2pa.org/specifications/): who signed what about a file.

The C2PA library is loaded on the first file with credentials. Nothing is fetched: credentials that
lie elsewhere are reported as such, and no server is asked whether a certificate was revoked. A
signer is trusted if its certificate chains to one in the PEM file that the environment variable
`C2PA_TRUST_ANCHORS` names; without it, no signer is.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

if __package__:
    from .findings import Claim, Finding, Kind, Trust, clean, quote
    from .known_tools import tool_kind
    from .source_types import source_type
else:
    from findings import Claim, Finding, Kind, Trust, clean, quote
    from known_tools import tool_kind
    from source_types import source_type

SOURCE = "Content Credentials"
TRUST_ANCHORS = "C2PA_TRUST_ANCHORS"
# The type of the JUMBF box that holds all manifests of a file, in every format alike.
STORE_BOX = b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
MAX_MANIFESTS = 20  # followed from a file to its ingredients
MAX_ACTIONS = 12  # named in a sentence
MAX_INGREDIENTS = 5
UNTRUSTED = "signingCredential.untrusted"
TRUSTED = "signingCredential.trusted"

# Why a signature is invalid, by the start of the specification's status code.
FAILURES = {
    "assertion.dataHash": "the file was changed after it was signed",
    "assertion.bmffHash": "the file was changed after it was signed",
    "assertion.boxesHash": "the file was changed after it was signed",
    "assertion.hashedURI": "the statements were changed after they were signed",
    "assertion.missing": "a statement that was signed is missing",
    "claimSignature.outsideValidity": "the certificate was not valid when it was used",
    "signingCredential.expired": "the certificate had expired",
    "signingCredential.revoked": "the certificate was withdrawn",
    "signingCredential.invalid": "the certificate is not one that may sign such files",
    "claimSignature": "the signature does not belong to the statements",
    "ingredient": "a file that went into this one is not what was signed",
}
NO_CREDENTIALS = Finding(
    Kind.CREDENTIALS,
    "The file carries no Content Credentials. That says nothing: most photos do not, and they are "
    "lost when a picture is sent on.",
    trust=Trust.UNKNOWN,
    source=SOURCE,
)


def has_credentials(content: bytes | mmap.mmap) -> bool:
    """Return whether a file seems to carry credentials; takes about a millisecond for 4 MB."""
    return content.find(STORE_BOX) >= 0


def read_credentials(file: BinaryIO) -> list[Finding]:
    """Return what the credentials in a file say, the signature first.

    Args:
        file: JPEG, PNG, WebP, HEIF, AVIF, TIFF, MP4 or the like, open for reading.
    """
    import c2pa

    anchors, complaint = _trust_anchors()
    try:
        store = _read_store(file, anchors)
    except c2pa.C2paError.ManifestNotFound:
        return [NO_CREDENTIALS]
    except (c2pa.C2paError, ValueError) as error:
        return [_unreadable(error)]
    manifests = store.get("manifests") or {}
    active = manifests.get(store.get("active_manifest"))
    if not isinstance(active, dict):
        return [_unreadable("there is no active manifest")]
    codes = _codes(store.get("validation_results"))
    trust = _trust(codes, store.get("validation_state") == "Invalid")
    findings = [_signature_finding(active, codes, trust, complaint)]
    findings += _statements(active, trust)
    for title, manifest, ingredient_trust in _made_from(store, active, trust):
        findings += [
            _about_ingredient(title, statement)
            for statement in _statements(manifest, ingredient_trust)
            if statement.kind in (Kind.ORIGIN, Kind.GENERATOR)
        ]
    return findings


def remote_finding(address: str) -> Finding:
    """Return the finding for a file whose credentials lie at another address."""
    return Finding(
        Kind.CREDENTIALS,
        f"The Content Credentials lie at another address, {quote(address)}: they were not fetched.",
        clean(address),
        Trust.UNKNOWN,
        SOURCE,
    )


def _trust_anchors() -> tuple[str | None, str]:
    """Return the certificates that the environment names, and what is wrong with them."""
    path = os.environ.get(TRUST_ANCHORS)
    if not path:
        return None, ""
    complaint = f" The file that {TRUST_ANCHORS} names cannot be read, so no signer is trusted."
    try:
        anchors = Path(path).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None, complaint
    return (anchors, "") if _loads(anchors) else (None, complaint)


def _loads(anchors: str) -> bool:
    """Return whether a text holds PEM certificates."""
    from cryptography.x509 import load_pem_x509_certificates  # comes with c2pa-python

    try:
        return bool(load_pem_x509_certificates(anchors.encode()))
    except ValueError:
        return False


def _read_store(file: BinaryIO, anchors: str | None) -> dict:
    """Return the manifest store of a file, as the library reports it.

    Raises:
        C2paError: there are no credentials, or they are damaged.
        ValueError: the report is not a JSON object.
    """
    import c2pa

    settings: dict = {
        "core": {"allowed_network_hosts": [], "max_decompressed_manifest_size_in_mb": 16},
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    }
    if anchors:
        settings["trust"] = {"trust_anchors": anchors}
    file.seek(0)
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader(None, file, context=context) as reader,
    ):
        store = json.loads(reader.json())
    if not isinstance(store, dict):
        raise ValueError("the manifest store is not an object")
    return store


def _unreadable(error: object) -> Finding:
    return Finding(
        Kind.CREDENTIALS,
        "The file carries Content Credentials that cannot be read: they are damaged or cut off.",
        clean(error),
        Trust.INVALID,
        SOURCE,
    )


def _codes(results: object, label: str = "") -> dict[str, list[str]]:
    """Return the status codes of a validation under `"success"` and `"failure"`.

    Args:
        results: of the validation, as the library gives them.
        label: of the manifest whose codes are wanted; empty for any.
    """
    active = results.get("activeManifest") if isinstance(results, dict) else None
    active = active if isinstance(active, dict) else {}
    return {
        outcome: [
            str(status.get("code"))
            for status in _dicts(active.get(outcome))
            if label in str(status.get("url"))
        ]
        for outcome in ("success", "failure")
    }


def _trust(codes: dict[str, list[str]], invalid: bool = False) -> Trust:
    if invalid or any(code != UNTRUSTED for code in codes["failure"]):
        return Trust.INVALID
    return Trust.SIGNED if TRUSTED in codes["success"] else Trust.UNKNOWN_SIGNER


def _signature_finding(
    manifest: dict, codes: dict[str, list[str]], trust: Trust, complaint: str
) -> Finding:
    signature = manifest.get("signature_info") or {}
    signer = _signer(manifest)
    when = f" at {clean(signature['time'], 40)}" if signature.get("time") else ""
    tool = _generator(manifest)
    with_tool = f" with {quote(tool)}" if tool else ""
    failures = [code for code in codes["failure"] if code != UNTRUSTED]
    if trust == Trust.SIGNED:
        sentence = (
            f"Signed by {signer}{when}{with_tool}, unchanged since, and the signer is trusted."
        )
    elif trust == Trust.UNKNOWN_SIGNER:
        sentence = (
            f"Signed in the name of {signer}{when}{with_tool} and unchanged since, but nobody here "
            "knows whether the signer is who it says."
        )
    else:
        sentence = (
            f"Signed in the name of {signer}{when}{with_tool}, but the signature is invalid: "
            f"{_reasons(failures)}."
        )
    value = json.dumps({"signature": signature, "generator": tool, "failures": failures})
    return Finding(Kind.CREDENTIALS, sentence + complaint, clean(value), trust, SOURCE)


def _reasons(failures: list[str]) -> str:
    known = [
        next((text for start, text in FAILURES.items() if code.startswith(start)), clean(code, 80))
        for code in failures
    ]
    return "; ".join(dict.fromkeys(known)) or "one of its ingredients is not what was signed"


def _signer(manifest: dict) -> str:
    """Return who signed a manifest, by its certificate."""
    signature = manifest.get("signature_info") or {}
    name, organisation = signature.get("common_name"), signature.get("issuer")
    if name and organisation and name != organisation:
        return f"{quote(name)} of {quote(organisation)}"
    return quote(name or organisation or "somebody without a name")


def _generator(manifest: dict) -> str:
    """Return the name and version of the program that made a manifest."""
    for tool in _dicts(manifest.get("claim_generator_info")):
        if tool.get("name"):
            return clean(f"{tool['name']} {tool.get('version') or ''}", 100)
    return clean(manifest.get("claim_generator") or "", 100)


def _statements(manifest: dict, trust: Trust) -> list[Finding]:
    """Return what a manifest states: origin, actions on record and ingredients."""
    actions = [
        action
        for assertion in _dicts(manifest.get("assertions"))
        if str(assertion.get("label")).startswith("c2pa.actions")
        for data in _dicts([assertion.get("data")])
        for action in _dicts(data.get("actions"))
    ]
    findings = _origins(manifest, actions, trust)
    if actions:
        findings.append(_actions_finding(actions, trust))
    if ingredients := _dicts(manifest.get("ingredients")):
        findings.append(_ingredients_finding(ingredients, trust))
    return findings


def _origins(manifest: dict, actions: list[dict], trust: Trust) -> list[Finding]:
    """Return a finding for each origin that a manifest's actions state."""
    findings = {}
    for action in actions:
        address = action.get("digitalSourceType")
        origin = address and source_type(address)
        if origin:
            agent = _agent(action) or _generator(manifest)
            with_agent = f" with {quote(agent)}" if agent else ""
            findings[origin] = Finding(
                Kind.ORIGIN,
                f"{_signer(manifest)} states: {origin[0]}{with_agent}.",
                clean(address),
                trust,
                SOURCE,
                origin[1],
            )
    # A generator that signs its name, but not how the picture came to be.
    if not findings and tool_kind(_generator(manifest)) == "generator":
        tool = _generator(manifest)
        sentence = (
            f"The credentials were made by {quote(tool)}, a program that makes pictures by AI."
        )
        return [Finding(Kind.GENERATOR, sentence, tool, trust, SOURCE, Claim.AI)]
    return list(findings.values())


def _actions_finding(actions: list[dict], trust: Trust) -> Finding:
    names = [_action_name(action) for action in actions]
    shown = list(dict.fromkeys(names))
    rest = f" and {len(shown) - MAX_ACTIONS} more" if len(shown) > MAX_ACTIONS else ""
    untouched = ("created", "opened", "published", "converted", "transcoded", "repackaged")
    edited = any(not name.startswith(untouched) for name in names)
    return Finding(
        Kind.EDITING,
        f"On record: {', '.join(shown[:MAX_ACTIONS])}{rest}.",
        clean(json.dumps(actions)),
        trust,
        SOURCE,
        Claim.EDITED if edited else Claim.NOTHING,
    )


def _action_name(action: dict) -> str:
    """Return an action in words, with its program and time."""
    name = clean(str(action.get("action") or "unnamed").removeprefix("c2pa."), 60)
    agent, when = _agent(action), action.get("when")
    parts = [name.replace("_", " ")]
    parts += [f"with {quote(agent)}"] if agent else []
    parts += [f"at {clean(when, 40)}"] if when else []
    return " ".join(parts)


def _agent(action: dict) -> str:
    agent = action.get("softwareAgent")
    if isinstance(agent, dict):
        agent = f"{agent.get('name') or ''} {agent.get('version') or ''}"
    return clean(agent or "", 100)


def _ingredients_finding(ingredients: list[dict], trust: Trust) -> Finding:
    words = {"parentOf": "the earlier version of the picture", "inputTo": "an input"}
    shown = [
        f"{quote(ingredient.get('title') or 'no title')} "
        f"({words.get(ingredient.get('relationship'), 'a part')})"
        for ingredient in ingredients[:MAX_INGREDIENTS]
    ]
    rest = len(ingredients) - len(shown)
    more = f" and {rest} more" if rest else ""
    return Finding(
        Kind.INGREDIENTS,
        f"Made from: {', '.join(shown)}{more}.",
        clean(json.dumps([ingredient.get("title") for ingredient in ingredients])),
        trust,
        SOURCE,
    )


def _made_from(store: dict, active: dict, trust: Trust) -> Iterator[tuple[str, dict, Trust]]:
    """Yield the title, manifest and trust of a picture's ingredients, at any depth."""
    manifests, seen = store["manifests"], {store["active_manifest"]}
    waiting = [active]
    while waiting:
        for ingredient in _dicts(waiting.pop(0).get("ingredients")):
            label = ingredient.get("active_manifest")
            manifest = manifests.get(label) if isinstance(label, str) else None
            if not isinstance(manifest, dict) or label in seen or len(seen) > MAX_MANIFESTS:
                continue
            seen.add(label)
            waiting.append(manifest)
            ingredient_trust = _ingredient_trust(ingredient, label, store, trust)
            yield str(ingredient.get("title") or "no title"), manifest, ingredient_trust


def _ingredient_trust(ingredient: dict, label: str, store: dict, trust: Trust) -> Trust:
    """Return how far the manifest of an ingredient can be trusted.

    Whoever used the ingredient recorded whether it was valid then, and may have lied; what the
    library finds beyond that is our own result.
    """
    if trust == Trust.INVALID:
        return trust
    recorded = _codes(ingredient.get("validation_results"))
    success = recorded["success"] if trust == Trust.SIGNED else []
    failure = recorded["failure"]
    results = store.get("validation_results")
    for delta in _dicts(results.get("ingredientDeltas") if isinstance(results, dict) else None):
        added = _codes({"activeManifest": delta.get("validationDeltas")}, label)
        success, failure = success + added["success"], failure + added["failure"]
    return _trust({"success": success, "failure": failure})


def _about_ingredient(title: str, finding: Finding) -> Finding:
    """Return a finding reworded as one about an ingredient."""
    claim = Claim.PARTLY_AI if finding.claim == Claim.AI else Claim.NOTHING
    return Finding(
        Kind.INGREDIENTS,
        f"Of {quote(title)}, one of its ingredients: {finding.sentence}",
        finding.value,
        finding.trust,
        finding.source,
        claim,
    )


def _dicts(value: object) -> list[dict]:
    """Return the dicts in a list; an empty list for any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

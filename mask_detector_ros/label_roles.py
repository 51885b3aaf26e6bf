# SPDX-License-Identifier: Apache-2.0
"""Roles of a model's labels: with mask, without mask, or worn incorrectly, whatever their names.

A custom model may call its classes "Con máscara" or "0 No Mask". Colours, alerts and evaluation
use a label's role, never its name.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

WITH_MASK, WITHOUT_MASK, WORN_INCORRECTLY = ROLES = (
    *("with_mask", "without_mask", "mask_worn_incorrectly"),
)

NO_ROLE = ""
"""The role of any other label, such as "background"."""

_INCORRECT = (
    *("incorr", "improper", "inproper", "wrong", "partial", "misplaced", "bad", "chin"),
    *("nose", "noseout", "mouthout", "semi", "below", "under", "half"),
    *("mal", "errad", "nariz", "queixo", "menton", "nez"),  # en es pt fr
    *("falsch", "nase", "sbagliat", "scorrett", "naso", "yanlis", "hatali"),  # de it tr
    *("неправильн", "неверн", "подбород", "нос"),  # ru
    *("不正确", "不正確", "不规范", "不規範", "错误", "錯誤", "露鼻", "鼻"),  # zh
    *(
        "不適切",
        "間違",
        "誤",
        "ずれ",
        "顎",
        "あご",
        "잘못",
        "틀린",
        "불량",
        "턱",
        "코스크",
    ),  # ja ko
    *("niepraw", "niewlas", "zle", "salah", "verkeerd", "onjuist", "sai"),  # pl id nl vi
    *("गलत", "خطأ", "خاطئ"),  # hi ar
    *("felaktig", "forkert", "spatne", "gresit", "λαθοσ", "ผิด"),  # sv da cs ro el th
    "imfd",  # data set MaskedFace-Net
)
_CORRECT = ("correct", "proper", "correcta", "benar", "richtig", "properly", "correctly")
_NEGATIONS = (
    *("without", "no", "non", "not", "none", "never", "wo", "off", "un", "nomask"),
    *("negative", "false", "sin", "sem", "sans", "pas", "ohne", "kein", "keine", "senza"),
    *("yok", "degil", "без", "нет", "bez", "brak", "nie", "tanpa", "tidak", "khong"),
    *("zonder", "geen", "बिना", "नहीं", "بدون", "لا"),
    *("utan", "ingen", "uden", "uten", "ilman", "fara", "nelkul", "χωρισ", "בלי", "ללא"),
)
_NEGATIVE_PARTS = (
    *("without", "unmask", "nomask", "nonmask", "maskless", "maskesiz", "maskeless", "maskoff"),
    *("uncovered", "unprotected", "noncompliant"),
    *("没", "沒", "无", "無", "未", "不戴", "不佩", "なし", "ない", "없", "노마스크"),
    *("미착용", "안쓴", "안 쓴", "बिना", "بدون", "ไม่"),
)
_MASK = (
    *("mask", "masca", "maszk", "masecz", "barbijo", "cubreboca", "tapaboca", "masque", "mascher"),
    *("mondkap", "munnbind", "mundbind", "mundschutz", "rousk", "khau trang", "μασκ", "מסכ"),
    *("маск", "口罩", "マスク", "마스크", "मास्क", "كمام", "قناع", "หน้ากาก", "แมส"),
)
_POSITIVE = (
    *("with", "con", "com", "avec", "mit", "yes", "on", "wearing", "covered", "true", "positive"),
    *("masked", "compliant", "protected", "cmfd"),
    *("si", "sim", "oui", "ja", "evet", "да", "착용", "着用", "佩戴", "戴"),
)
_BARE = ({"face"}, {"bare"}, {"bare", "face"}, {"naked", "face"}, {"normal", "face"})


@cache
def guess_roles(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Guess the role of each label from its name, in some fifteen languages; `NO_ROLE` for other
    names.

    Args:
        labels: names from a model, numbered ("0 Mask") or not.
    """
    return tuple(_guess(label) for label in labels)


def read_labels(metadata: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the label names and their roles from a model's metadata.

    Raises:
        KeyError: it names no labels.
        ValueError: `labels` is no JSON list of different names, or `roles` does not fit it.
    """
    try:
        names, roles = json.loads(metadata["labels"]), json.loads(metadata.get("roles", "null"))
    except RecursionError as error:
        raise ValueError("its JSON is nested too deep") from error
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise ValueError("labels must be a JSON list of different names")
    labels = tuple(map(str, names))
    return labels, read_roles(labels, roles)


def read_roles(labels: Sequence[str], roles: object) -> tuple[str, ...]:
    """Read the role of each label from a model's metadata, or guess it from the label names.

    Args:
        labels: the model's labels.
        roles: the metadata entry: a list as long as `labels`, or None.

    Raises:
        ValueError: it is not such a list.
    """
    if roles is None:
        return guess_roles(tuple(labels))
    if not isinstance(roles, list) or len(roles) != len(labels):
        raise ValueError(f"roles must be a list of {len(labels)}, one for each label")
    found = tuple(NO_ROLE if role is None else str(role) for role in roles)
    unknown = set(found) - {*ROLES, NO_ROLE}
    if unknown:
        raise ValueError(f"a role is one of {', '.join(ROLES)} or null, got {unknown.pop()!r}")
    return found


def find_labels(names: Sequence[str], roles: Sequence[str], wanted: Iterable[str]) -> set[int]:
    """Indices of the labels whose name or role is wanted."""
    kinds = set(wanted)
    return {i for i, pair in enumerate(zip(names, roles, strict=True)) if kinds & {*pair}}


def _guess(label: str) -> str:
    text = _simplify(label)
    words = text.split()
    negative = any(word in _NEGATIONS for word in words) or any(p in text for p in _NEGATIVE_PARTS)
    if any(_is_incorrect(word) for word in words) or any(
        part in text for part in _INCORRECT if ord(part[0]) > 0x0500
    ):
        return WORN_INCORRECTLY
    if negative:
        return WORN_INCORRECTLY if any(word in _CORRECT for word in words) else WITHOUT_MASK
    if any(part in text for part in _MASK) or any(word in _POSITIVE + _CORRECT for word in words):
        return WITH_MASK
    return WITHOUT_MASK if set(words) in _BARE else NO_ROLE


def _is_incorrect(word: str) -> bool:
    # Short words also begin other words: "mal" and "male".
    return word in _INCORRECT or word.startswith(tuple(w for w in _INCORRECT if len(w) > 4))


def _simplify(label: str) -> str:
    """Normalise: lower case, no accents, no leading number, single spaces."""
    # WithMask and withMask are two words.
    split = re.sub(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])", " ", label)
    letters = unicodedata.normalize("NFKD", split.casefold().replace("ı", "i"))
    plain = "".join(c for c in letters if not "\u0300" <= c <= "\u036f")
    composed = unicodedata.normalize("NFKC", plain).replace("đ", "d").replace("w/o", "wo")
    # The vowel signs of Hindi are marks and part of the words.
    spaced = "".join(
        c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in composed
    )
    return re.sub(r"^(class |label )?\d+ ", "", " ".join(spaced.split()))

# SPDX-License-Identifier: Apache-2.0
"""The role of a label is guessed from its name, in many languages, or read from the metadata."""

import pytest

from mask_detector_ros.faces import Faces
from mask_detector_ros.label_roles import (
    NO_ROLE,
    WITH_MASK,
    WITHOUT_MASK,
    WORN_INCORRECTLY,
    find_labels,
    guess_roles,
    read_roles,
)

MEANINGS = {
    WITH_MASK: """with_mask|Mask|0 Mask|0 With Mask|Con máscara|Con mascarilla|Gente con Barbijo|
        Com máscara|avec masque|Mit Maske|con mascherina|maskeli|с маской|В маске|
        носит маску|戴口罩|口罩|
        マスクあり|マスク着用|마스크 착용|마스크|z maską|pakai masker|Đeo khẩu trang|met mondkapje|
        मास्क के साथ|بكمامة|WithMask|mask_on|masked|face_mask|yes|Mascarrilla|CMFD_mask|
        mask_worn_correctly|properly_worn|compliant|fully covered|CMFD|Med mask|
        Med munnbind|S rouškou|cu mască|maszk|สวมหน้ากาก|Με μάσκα|עם מסכה|W maseczce""",
    WITHOUT_MASK: """without_mask|No Mask|1 No Mask|NoMask|no-mask|Sin máscara|Gente sin Barbijo|
        No_mascarilla|Sem máscara|sans masque|Pas de masque|Ohne Maske|keine Maske|
        senza mascherina|maskesiz|без маски|Нет маски|未戴口罩|没戴口罩|マスクなし|
        マスクしていない|마스크 미착용|마스크 없음|bez maski|tanpa masker|tidak pakai masker|
        Không đeo khẩu trang|zonder mondkapje|geen masker|बिना मास्क|بدون كمامة|WithoutMask|
        unmasked|mask_off|face|non mask|no|maskless|not wearing mask|w/o mask|
        uncovered|non-compliant|unprotected face|不戴口罩|노마스크|Utan mask|Ingen mask|
        Uden maske|uten munnbind|ilman maskia|fără mască|maszk nélkül|ไม่สวมหน้ากาก|
        Χωρίς μάσκα|ללא מסכה|Bez maseczki""",
    WORN_INCORRECTLY: """mask_worn_incorrectly|mask_weared_incorrect|Incorrect Mask|
        Máscara Incorreta|Uso Incorreto|mascarilla mal puesta|masque mal porté|Maske falsch|
        mascherina sbagliata|yanlış maske|неправильно надета|口罩佩戴不规范|不正确佩戴口罩|
        マスク着用が不適切|마스크 잘못 착용|nieprawidłowo założona|masker salah|
        masker verkeerd|Đeo sai khẩu trang|गलत मास्क|improper mask|not worn correctly|
        mask below nose|MASK INCORRECT|nose_out|semi_masked|noseout|Máscara no queixo|
        顎マスク|IMFD|Felaktig mask""",
    NO_ROLE: "background|class_1|2|person|other|nothing|helmet|male|female|badge",
}


@pytest.mark.parametrize(
    ("label", "role"),
    [(label.strip(), role) for role, text in MEANINGS.items() for label in text.split("|")],
)
def test_a_name_tells_the_role(label, role):
    assert guess_roles((label,)) == (role,)


def test_the_metadata_of_a_model_wins_over_its_names():
    assert read_roles(["a", "b"], ["with_mask", None]) == (WITH_MASK, NO_ROLE)
    assert read_roles(["Mask", "b"], None) == (WITH_MASK, NO_ROLE)


@pytest.mark.parametrize("roles", ["with_mask", ["with_mask"], ["with_mask", "helmet"]])
def test_roles_that_do_not_fit_are_an_error(roles):
    with pytest.raises(ValueError, match="role"):
        read_roles(["a", "b"], roles)


def test_labels_are_found_by_name_and_by_role():
    names = ("Con máscara", "Sin máscara")
    assert find_labels(names, guess_roles(names), ["without_mask"]) == {1}
    assert find_labels(names, guess_roles(names), ["Con máscara", "helmet"]) == {0}


def test_faces_know_the_roles_of_their_labels():
    faces = Faces.empty(("Con máscara", "background"))
    assert faces.label_roles == (WITH_MASK, NO_ROLE)
    one = Faces([[0, 0, 9, 9]], [1], [[[0, 0]] * 5])
    told = one.with_probabilities([[0.2, 0.8]], ("a", "b"), (WITH_MASK, WITHOUT_MASK))
    assert told.roles == told[[0]].roles == [WITHOUT_MASK]
    with pytest.raises(ValueError, match="label_roles"):
        one.with_probabilities([[0.2, 0.8]], ("a", "b"), (WITH_MASK,))

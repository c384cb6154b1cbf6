"""All examinations, and what is wrong in what they found."""

from __future__ import annotations

import time
from typing import Any

from dnal.doctor.installation import extras, packages


def examine() -> dict[str, Any]:
    """Everything that can be found out in seconds, as plain values.

    Returns:
        packages, extras, machine, devices, precisions, places, self_test: what the functions of these names say; empty
        where PyTorch or what is built on it cannot even be imported. problems: a sentence for each thing that keeps
        dnal from working, with the remedy. seconds: that it took.
    """
    begun = time.perf_counter()
    found: dict[str, Any] = {"packages": packages(), "extras": extras()}
    broken = ""
    try:
        from dnal.doctor.machine import devices, machine
        from dnal.doctor.places import places
        from dnal.doctor.precision import precisions
        from dnal.doctor.self_test import self_test
    except Exception as error:  # a library of another version or for another machine fails in many ways
        broken = f"{type(error).__name__}: {error}"
        found |= {"machine": {}, "devices": [], "precisions": [], "places": [], "self_test": []}
    else:
        found |= {"machine": machine(), "devices": devices(), "precisions": precisions(), "places": places()}
        found["self_test"] = self_test()
    found["problems"] = problems(found, broken)
    found["seconds"] = round(time.perf_counter() - begun, 1)
    return found


def problems(found: dict[str, Any], broken: str = "") -> list[str]:
    """What is wrong, a sentence each.

    Args:
        found: the parts of :func:`examine`. An absent extra is not wrong, one that is too old is.
        broken: why the libraries cannot be imported, or "".
    """
    said = [
        f"{each['name']} is {each['version'] or 'missing'}, and dnal needs "
        f"{each['needed']}: pip install '{each['needed']}'"
        for each in found["packages"]
        if not each["fits"]
    ]
    if broken:
        said.append(f"the libraries cannot be imported ({broken}); install dnal again in a new environment")
    said += [f"{extra['problem']}: {extra['install']}" for extra in found["extras"] if extra["problem"]]
    said += [
        f"nothing can be written in '{place['path']}', the place of {place['what']} ({place['refusal']}); "
        f"{place['remedy']}"
        for place in found["places"]
        if place["refusal"]
    ]
    said += [
        f"{each['device']} does not compute with {each['precision']}: {each['refusal']}"
        for each in found["precisions"]
        if each["refusal"] and each["precision"] == "32-true"
    ]
    said += [f"self-test: {check['what']}: {check['found']}" for check in found["self_test"] if not check["holds"]]
    return [f"{' '.join(sentence.split()).rstrip('.')}." for sentence in said]

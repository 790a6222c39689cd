"""What runs inside GSAS-II's own process: a job of `xrd.gsas2` in, what came of it out.

GSAS-II keeps its state in modules, prints, writes backups and pickles; so it has a process and a folder of
its own, and may have an interpreter of its own: nothing but Python, numpy and GSAS-II is imported here.

    python gsas2_process.py job.json        refine as the job says; writes result.json and result.npz
    python gsas2_process.py --read X.gpx    describe a project (a pickle, which runs what it holds when read)
    python gsas2_process.py --version       import GSAS-II and say which it is

What GSAS-II prints goes into ``gsas2.log`` beside the job. Whatever ends a job early is a sentence under the
key ``error`` of ``result.json``; a fit that GSAS-II gave up is one too, for `G2Project.refine` returns as if
nothing had happened (`SeqRefine` says so, and what it says is dropped).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Place = tuple[Any, int]
"""A list, and where in it something is."""


def scriptable() -> Any:
    """Import GSAS-II in either of its layouts: a package, or modules at the top level (before 2025)."""
    try:
        G2sc, powder = (
            importlib.import_module(f"GSASII.{name}") for name in ("GSASIIscriptable", "GSASIIpwd")
        )
    except ModuleNotFoundError as error:
        if error.name != "GSASII":
            raise
        G2sc = importlib.import_module("GSASIIscriptable")
        G2sc.GSASIIpath.SetBinaryPath(True)
        powder = importlib.import_module("GSASIIpwd")
    if not hasattr(powder, "pyd"):  # the import of a build without its Fortran parts succeeds
        raise ImportError("its compiled parts (pypowder) are missing")
    return G2sc


def version(G2sc: Any) -> str:
    """Return the number GSAS-II gives itself."""
    return str(G2sc.GSASIIpath.GetVersionNumber())


def main(job_path: Path) -> None:
    """Do a job; `xrd.gsas2` has what is in it."""
    job = json.loads(job_path.read_text(encoding="utf-8"))
    folder = job_path.parent
    result: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    try:
        G2sc = scriptable()
        G2sc.SetPrintLevel("error")
        result["version"] = version(G2sc)
        project = Project(G2sc, job, folder)
        for number, stage in enumerate(job["stages"]):
            project.refine(stage)
            if number == 0 and not stage["all"]:
                project.copy_first()
        project.refine_stuck()
        if not job["stages"]:
            project.calculate()
        result["patterns"] = project.results(arrays)
    except Exception as error:  # whatever it is, the other process has to hear of it
        result["error"] = f"{type(error).__name__}: {error}"
    np.savez(folder / "result.npz", **arrays)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


class Project:
    """A project with a histogram for each pattern, refined one after the other (sequential refinement).

    Parameters are named as GSAS-II names them, with * for the number of the histogram: ``0:*:Size;i``,
    ``:*:Back;2``, ``1::AUiso:3``.
    """

    def __init__(self, G2sc: Any, job: dict[str, Any], folder: Path) -> None:
        self.G2sc, self.job = G2sc, job
        self.gpx = G2sc.G2Project(newgpx=os.fspath(folder / "refinement.gpx"))
        self.names: list[str] = []
        self.fits: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self.attempted = ""
        for phase in job["phases"]:
            self._add_phase(phase)
        self.numbers = self._term_numbers()
        self._add_histograms(folder, np.load(folder / "patterns.npz"))
        for index, name in enumerate(self.names):
            start = self._numbered(job["values"][min(index, len(job["values"]) - 1)])
            for variable, (values, place), _ in self._entries(name):
                if variable in start:
                    values[place] = start[variable]
        for constraint in job["constraints"]:
            variables, factors = zip(*self._numbered(dict(constraint["terms"])).items(), strict=True)
            self.gpx.add_EqnConstr(constraint["total"], variables, factors)
        controls = self.gpx.data["Controls"]["data"]
        controls.setdefault("parmFrozen", {})  # the first sequential refinement looks for it
        controls["max cyc"], controls["min dM/M"] = job["cycles"], job["tolerance"]
        self._listen()

    def _listen(self) -> None:
        """Keep what a sequential refinement finds for every pattern, and what it says when it ends early.

        Covariances are of the varied parameters, and constraints are held in modules, for one histogram at a
        time; they are linear, so that steps of one parameter show what follows it.
        """
        main_module = self.G2sc.G2strMain
        sequential, core = main_module.SeqRefine, main_module.RefineCore

        def recorded_sequential(*args: Any, **kwargs: Any) -> Any:
            good, message = sequential(*args, **kwargs)
            if not good:
                self.failures[self.attempted] = str(message).strip()
            return good, message

        def recorded_core(*args: Any, **kwargs: Any) -> Any:
            _, histograms, _, _, _, parameters, _, varied, *_ = args
            self.attempted = next(key for key in histograms if key.startswith("PWDR"))
            varied = list(varied)
            result = core(*args, **kwargs)
            good, rvals, _, covariance, _, last = result
            if good and len(covariance):
                histogram, matrix = histograms[self.attempted], np.asarray(covariance)
                self.fits[self.attempted] = {
                    **self._fit(histogram, parameters, varied, matrix, rvals),
                    "moved": float(np.abs(np.asarray(last) / np.sqrt(np.diag(matrix))).max()),
                }
            else:
                self.failures[self.attempted] = str(rvals.get("msg") or "singular matrix").strip()
            return result

        main_module.SeqRefine, main_module.RefineCore = recorded_sequential, recorded_core

    def _fit(
        self,
        histogram: dict[str, Any],
        parameters: dict[str, Any],
        varied: list[str],
        covariance: Any,
        rvals: Any,
    ) -> dict[str, Any]:
        """Return what was found for one pattern."""
        variables = self._numbered(dict.fromkeys(self.job["variables"]))
        names = [name.replace("*", str(histogram["hId"])) for name in variables]
        columns = []
        for name in varied:
            before, after = dict(parameters), {**parameters, name: parameters[name] + 1.0}
            for values in (before, after):
                self.G2sc.G2mv.Dict2Map(values)
            columns.append([float(after.get(n, 0.0)) - float(before.get(n, 0.0)) for n in names])
        dependence = np.array(columns).reshape(len(varied), len(names)).T
        shifted = dict(parameters)
        for name in names:  # a coordinate is varied as a shift
            if "::dA" in name:
                shifted[name] = parameters[name.replace("::dA", "::A")] + parameters[name]
        phases = range(len(self.job["phases"]))
        return {
            "values": np.array([float(shifted.get(name, math.nan)) for name in names]),
            "covariance": dependence @ covariance @ dependence.T,
            "reciprocal": np.array([[float(parameters[f"{i}::A{j}"]) for j in range(6)] for i in phases]),
            "curves": np.array([np.ma.getdata(histogram["Data"][i]).astype(float) for i in (0, 3, 4)]),
            "converged": bool(rvals.get("converged")),
            "stuck": bool(rvals.get("Aborted")),
            "singular": int(rvals.get("SVD0") or 0),
            "chi2": float(rvals["chisq"]),
            "rwp": float(rvals["Rwp"]),
            "gof": float(rvals["GOF"]),
            "points": int(rvals["Nobs"]),
        }

    def _term_numbers(self) -> dict[str, str]:
        """Return how GSAS-II numbers the terms of generalised strain, which a job names by their indices."""
        groups = [self.gpx.data["Phases"][p["name"]]["General"]["SGData"] for p in self.job["phases"]]
        return {
            f"{number}:*:Mustrain;{name}": f"{number}:*:Mustrain;{i}"
            for number, group in enumerate(groups)
            for i, name in enumerate(self.G2sc.G2spc.MustrainNames(group))
        }

    def _numbered(self, values: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name in values if ";S" in name and name not in self.numbers]
        if unknown:
            raise ValueError(f"it has no parameter {', '.join(unknown)}")
        return {self.numbers.get(name, name): value for name, value in values.items()}

    def _add_phase(self, phase: dict[str, Any]) -> None:
        """Add a phase atom by atom; reading a CIF would need a further package, and could end otherwise."""
        name = phase["name"]
        made = self.gpx.add_phase(phasename=name, spacegroup=phase["space_group"], cell=phase["cell"])
        if made.name != name:
            raise ValueError(f"phase {name!r} was renamed {made.name!r}")
        group = made["General"]["SGData"]
        _same_symmetry(group, phase)
        for number, (label, kind, x, y, z, occupancy, uiso) in enumerate(phase["atoms"]):
            site, multiplicity = self.G2sc.G2spc.SytSym([x, y, z], group)[:2]
            made.data["Atoms"].append(
                [label, kind, "", x, y, z, occupancy, site, multiplicity, "I", uiso, *[0.0] * 6, number + 1]
            )
        self.G2sc.SetupGeneral(made.data, None)

    def _add_histograms(self, folder: Path, patterns: Any) -> None:
        """Add a histogram for each pattern, without the points that were not measured."""
        x = patterns["two_theta"]
        columns = []
        for intensity, errors in zip(patterns["intensity"], patterns["errors"], strict=True):
            measured = np.isfinite(intensity) & np.isfinite(errors)
            columns.append((x[measured], intensity[measured], errors[measured]))
        first = folder / f"{self.job['names'][0]}.xye"
        np.savetxt(first, np.transpose(columns[0]), fmt="%.10g")
        made = self.gpx.add_powder_histogram(
            os.fspath(first), os.fspath(folder / "instrument.instprm"), phases="all", fmthint="xye"
        )
        first.unlink()
        made["data"][1] = [np.ma.MaskedArray(column) for column in made["data"][1]]  # which cloning asks for
        for name in self.job["names"][1:]:
            self.gpx.clone_powder_histogram(made, f"{name}.xye", np.zeros(len(made["data"][1][0])))
        self.names = [made.name, *(f"PWDR {name}.xye" for name in self.job["names"][1:])]
        for name, (two_theta, intensity, errors) in zip(self.names, columns, strict=True):
            self._describe(name)
            nothing = np.zeros((3, len(two_theta)))
            data = self.gpx.data[name]
            data["data"][1] = [
                np.ma.MaskedArray(column) for column in (two_theta, intensity, errors**-2.0, *nothing)
            ]
            span = (float(two_theta[0]), float(two_theta[-1]))
            data["Limits"] = [span, list(self.job["limits"]), *self.job["excluded"]]

    def _describe(self, name: str) -> None:
        """Say what there is in a histogram: background, geometry, and how each phase is broadened."""
        data = self.gpx.data[name]
        peaks = [[0.0, False, 0.0, False, 1.0, False, 0.0, False] for _ in range(self.job["peaks"])]
        terms = self.job["terms"]
        data["Background"] = [
            ["chebyschev-1", False, terms, *[0.0] * terms],
            {"nDebye": 0, "debyeTerms": [], "nPeaks": len(peaks), "peaksList": peaks,
             "background PWDR": ["", 1.0, False]},
        ]  # fmt: skip
        sample = data["Sample Parameters"]
        sample["Type"], sample["Gonio. radius"] = self.job["geometry"]
        sample["Scale"] = [1.0, False]
        for phase in self.job["phases"]:
            self.gpx.link_histogram_phase(name, phase["name"])
            hap = self.gpx.data["Phases"][phase["name"]]["Histograms"][name]
            hap["Size"][0], hap["Size"][3] = phase["size_model"], phase["axis"]
            hap["Mustrain"][0], hap["Mustrain"][3] = phase["strain_model"], phase["axis"]
            hap["Pref.Ori."][3] = phase["axis"]
            hap["LeBail"] = phase["lebail"]

    def _entries(self, name: str) -> Iterator[tuple[str, Place, Place]]:
        """Yield every parameter of a histogram: its name, where its value is, and where its flag is."""
        data = self.gpx.data[name]
        (polynomial, others), instrument = data["Background"], data["Instrument Parameters"][0]
        for i in range(polynomial[2]):
            yield f":*:Back;{i}", (polynomial, 3 + i), (polynomial, 1)
        for i, peak in enumerate(others["peaksList"]):
            for column, key in enumerate(("pos", "int", "sig", "gam")):
                yield f":*:BkPk{key};{i}", (peak, 2 * column), (peak, 2 * column + 1)
        for key, value in data["Sample Parameters"].items():
            if isinstance(value, list) and len(value) == 2 and isinstance(value[1], bool):
                yield f":*:{key}", (value, 0), (value, 1)
        for key, value in instrument.items():
            if len(value) == 3 and isinstance(value[1], float):
                yield f":*:{key}", (value, 1), (value, 2)
        for number, phase in enumerate(self.job["phases"]):
            whole = self.gpx.data["Phases"][phase["name"]]
            hap = whole["Histograms"][name]
            yield f"{number}:*:Scale", (hap["Scale"], 0), (hap["Scale"], 1)
            yield f"{number}:*:MD", (hap["Pref.Ori."], 1), (hap["Pref.Ori."], 2)
            for key in ("Size", "Mustrain"):
                kind, item = hap[key][0], hap[key]
                for i, suffix in enumerate(("i", "a", "mx")):
                    yield f"{number}:*:{key};{suffix}", (item[1], i), (item[2], i)
                if kind == "generalized":
                    for i in range(len(item[4])):
                        yield f"{number}:*:{key};{i}", (item[4], i), (item[5], i)
            for i, key in enumerate(self.G2sc.G2spc.HStrainNames(whole["General"]["SGData"])):
                yield f"{number}:*:{key}", (hap["HStrain"][0], i), (hap["HStrain"][1], i)

    def _free(self, free: list[str]) -> None:
        """Set the flags of the parameters named, and of no other; some share one."""
        for name in self.names:
            flags = [(flag, variable in free) for variable, _, flag in self._entries(name)]
            for (flag, place), _ in flags:
                flag[place] = False
            for (flag, place), is_free in flags:
                flag[place] = flag[place] or is_free
        for number, phase in enumerate(self.job["phases"]):
            for i, atom in enumerate(self.gpx.data["Phases"][phase["name"]]["Atoms"]):
                kinds = {"F": ("Afrac",), "X": ("dAx", "dAy", "dAz"), "U": ("AUiso",)}
                atom[2] = "".join(
                    kind
                    for kind, stems in kinds.items()
                    if any(f"{number}::{stem}:{i}" in free for stem in stems)
                )

    def refine(self, stage: dict[str, Any]) -> None:
        """Refine the first pattern or all of them; behind one that fails, go on with the next."""
        self._free(list(self._numbered(dict.fromkeys(stage["free"]))))
        self._run(self.names if stage["all"] else self.names[:1], bool(stage["copy"]))
        if not stage["all"] and self.failures:
            raise ValueError(f"the first pattern cannot be refined: {self.failures[self.names[0]]}")
        self.gpx.data["Controls"]["data"]["Seq Data"] = list(self.names)

    def refine_stuck(self) -> None:
        """Refine again what GSAS-II could not improve: if it cannot move it at all, it was at the minimum."""
        stuck = [name for name in self.names if self.fits.get(name, {}).get("stuck")]
        if stuck:
            self._run(stuck, copy=False)
            self.gpx.data["Controls"]["data"]["Seq Data"] = list(self.names)

    def _run(self, pending: list[str], copy: bool) -> None:
        while pending:
            self.failures = {name: text for name, text in self.failures.items() if name not in pending}
            for name in pending:
                self.fits.pop(name, None)
            controls = self.gpx.data["Controls"]["data"]
            controls["Seq Data"], controls["Copy2Next"] = list(pending), copy
            self.attempted = ""
            self.gpx.refine()
            for path in Path(self.gpx.filename).parent.glob("*.bak*.gpx"):
                path.unlink()
            if not self.attempted:
                raise ValueError(self.failures.get("", "it refined nothing"))
            if self.attempted not in self.fits:
                self.failures.setdefault(self.attempted, "it gave no result")
            pending = pending[pending.index(self.attempted) + 1 :]

    def calculate(self) -> None:
        """Calculate the patterns from the values the project has, and leave it ready to be refined."""
        controls = self.gpx.data["Controls"]["data"]
        cycles, controls["max cyc"], controls["Seq Data"] = controls["max cyc"], 0, []
        self._free([])
        self.gpx.refine()
        controls = self.gpx.data["Controls"]["data"]
        controls["max cyc"], controls["Seq Data"] = cycles, list(self.names)
        self._free(list(self._numbered(dict.fromkeys(self.job["free"]))))
        self.gpx.save()

    def copy_first(self) -> None:
        """Give every pattern the values of the first."""
        first = {variable: values[place] for variable, (values, place), _ in self._entries(self.names[0])}
        for name in self.names[1:]:
            for variable, (values, place), _ in self._entries(name):
                values[place] = first[variable]

    def results(self, arrays: dict[str, Any]) -> list[dict[str, Any]]:
        """Return figures of merit of every pattern; arrays go into `arrays`, with the pattern's number."""
        found = []
        for number, name in enumerate(self.names):
            fit = self.fits.get(name)
            if fit is None or name in self.failures:
                found.append({"failed": self.failures.get(name, "was not refined")})
                continue
            for i, phase in enumerate(self.job["phases"]):
                listed = self.gpx.data[name]["Reflection Lists"].get(phase["name"], {}).get("RefList", [])
                arrays[f"reflections_{i}_{number}"] = np.asarray(listed, dtype=float)
            found.append({key: value for key, value in fit.items() if not isinstance(value, np.ndarray)})
            arrays |= {f"{key}_{number}": v for key, v in fit.items() if isinstance(v, np.ndarray)}
        return found


def _same_symmetry(group: dict[str, Any], phase: dict[str, Any]) -> None:
    """Compare the operations GSAS-II made of the symbol with those of the structure."""
    centrings = [np.asarray(shift, dtype=float) for shift in group["SGCen"]]
    signs = (1, -1) if group["SGInv"] else (1,)
    theirs = {
        _operation(sign * np.asarray(rotation), sign * np.asarray(shift) + centring)
        for rotation, shift in group["SGOps"]
        for sign in signs
        for centring in centrings
    }
    ours = {_operation(np.asarray(rotation), np.asarray(shift)) for rotation, shift in phase["operations"]}
    if theirs != ours:
        raise ValueError(
            f"phase {phase['name']!r}: GSAS-II has {phase['space_group']!r} in another setting or origin"
        )


def _operation(rotation: Any, shift: Any) -> tuple[int, ...]:
    """Return an operation as integers: its matrix, and its translation in 24ths of an edge, below one."""
    return (*map(int, np.rint(rotation).ravel()), *(round(24 * float(s)) % 24 for s in shift))


def read(gpx: Path) -> dict[str, Any]:
    """Describe a project: phases with their cells, histograms with their residuals."""
    G2sc = scriptable()
    G2sc.SetPrintLevel("error")
    project = G2sc.G2Project(gpxfile=os.fspath(gpx))
    return {
        "phases": [
            {
                "name": phase.name,
                "space_group": phase["General"]["SGData"]["SpGrp"],
                "cell": [float(v) for v in phase["General"]["Cell"][1:7]],
                "atoms": [
                    [a.label, a.type, *map(float, a.coordinates), float(a.occupancy)] for a in phase.atoms()
                ],
            }
            for phase in project.phases()
        ],
        "histograms": [
            {"name": h.name, "rwp": float(h.residuals["wR"]) if h.residuals.get("wR") else None}
            for h in project.histograms()
        ],
    }


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] in ("--read", "--version"):
        with contextlib.redirect_stdout(sys.stderr):
            is_version = arguments[0] == "--version"
            said = version(scriptable()) if is_version else json.dumps(read(Path(arguments[1]).resolve()))
        sys.stdout.write(said)
    else:
        job_file = Path(arguments[0]).resolve()
        with (
            open(job_file.with_name("gsas2.log"), "w", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
        ):
            main(job_file)

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
import copy
import importlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


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
            if number == 0 and len(project.names) > 1:
                project.copy_first()
        result["histograms"] = project.results(arrays)
    except Exception as error:  # whatever it is, the other process has to hear of it
        result["error"] = f"{type(error).__name__}: {error}"
    np.savez(folder / "result.npz", **arrays)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


class Project:
    """A project with a histogram for each pattern, refined one after the other (sequential refinement)."""

    def __init__(self, G2sc: Any, job: dict[str, Any], folder: Path) -> None:
        self.G2sc, self.job = G2sc, job
        self.said = (True, "")
        patterns = np.load(folder / "patterns.npz")
        self.gpx = G2sc.G2Project(newgpx=os.fspath(folder / "refinement.gpx"))
        for phase in job["phases"]:
            self._add_phase(phase)
        self.names = [f"PWDR {name}" for name in job["names"]]
        self._add_histograms(folder, patterns)
        self._set_values()
        controls = self.gpx.data["Controls"]["data"]
        controls.setdefault("parmFrozen", {})  # the first sequential refinement looks for it
        controls["max cyc"], controls["min dM/M"] = job["cycles"], job["tolerance"]
        main_module = G2sc.G2strMain
        sequential = main_module.SeqRefine

        def recorded(*args: Any, **kwargs: Any) -> Any:
            self.said = sequential(*args, **kwargs)
            return self.said

        main_module.SeqRefine = recorded

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
        if made.name != self.names[0]:
            self.names[0] = made.name
        made["data"][1] = [np.ma.MaskedArray(column) for column in made["data"][1]]  # which cloning asks for
        for name in self.job["names"][1:]:
            self.gpx.clone_powder_histogram(made, name, np.zeros(len(made["data"][1][0])))
        for name, (two_theta, intensity, errors) in zip(self.names, columns, strict=True):
            data = self.gpx.data[name]
            nothing = np.zeros(len(two_theta))
            data["data"][1] = [
                np.ma.MaskedArray(column)
                for column in (two_theta, intensity, 1.0 / errors**2, nothing, nothing.copy(), nothing.copy())
            ]
            low, high = self.job["limits"]
            data["Limits"] = [(float(two_theta[0]), float(two_theta[-1])), [low, high], *self.job["excluded"]]
            for phase in self.job["phases"]:
                self.gpx.link_histogram_phase(name, phase["name"])

    def _set_values(self) -> None:
        """Set what the parameters begin with; no flag is set here."""
        for name in self.names:
            data = self.gpx.data[name]
            data["Background"] = copy.deepcopy(self.job["background"])
            data["Sample Parameters"]["Type"] = self.job["geometry"]
            for key, value in self.job["sample"].items():
                is_plain = not isinstance(data["Sample Parameters"].get(key), list)
                data["Sample Parameters"][key] = value if is_plain else [value, False]
            data["Sample Parameters"]["Scale"] = [1.0, False]
            for phase in self.job["phases"]:
                hap = self.gpx.data["Phases"][phase["name"]]["Histograms"][name]
                for key, value in phase["values"].items():
                    hap[key] = copy.deepcopy(value)
                hap["Scale"][1] = False
                for key in ("Size", "Mustrain"):
                    hap[key][2] = [False] * 3
                    hap[key][5] = [False] * len(hap[key][5])

    def _free(self, free: list[str]) -> None:
        """Set the flags: those named in `free`, and no other."""
        wanted = set(free)
        for name in self.names:
            data = self.gpx.data[name]
            data["Background"][0][1] = "background" in wanted
            for number, peak in enumerate(data["Background"][1].get("peaksList", [])):
                for column, key in enumerate(("pos", "int", "sig", "gam")):
                    peak[2 * column + 1] = f"peak {number}/{key}" in wanted
            for key, value in data["Sample Parameters"].items():
                if isinstance(value, list) and len(value) == 2 and isinstance(value[1], bool):
                    value[1] = key in wanted
            for key, value in data["Instrument Parameters"][0].items():
                if len(value) == 3:
                    value[2] = key in wanted
            for phase in self.job["phases"]:
                hap = self.gpx.data["Phases"][phase["name"]]["Histograms"][name]
                place = phase["name"] + "/"
                hap["Scale"][1] = place + "Scale" in wanted
                hap["Pref.Ori."][2] = place + "MD" in wanted
                for key in ("Size", "Mustrain"):
                    hap[key][2] = [f"{place}{key};{suffix}" in wanted for suffix in ("i", "a", "mx")]
                    hap[key][5] = [f"{place}{key};{n}" in wanted for n in range(len(hap[key][5]))]
                free_cell = place + "cell" in wanted
                strains = self.G2sc.G2spc.HStrainNames(
                    self.gpx.data["Phases"][phase["name"]]["General"]["SGData"]
                )
                hap["HStrain"][1] = [free_cell and strain != "eA" for strain in strains]
        for phase in self.job["phases"]:
            for atom in self.gpx.phase(phase["name"]).atoms():
                kinds = [k for k in "FXU" if f"{phase['name']}/{atom.label}/{k}" in wanted]
                atom.refinement_flags = "".join(kinds)

    def refine(self, stage: dict[str, Any]) -> None:
        """Refine the first pattern or all of them, and see whether GSAS-II really did."""
        self._free(stage["free"])
        names = self.names if stage["all"] else self.names[:1]
        controls = self.gpx.data["Controls"]["data"]
        controls["Seq Data"], controls["Copy2Next"] = list(names), bool(stage["copy"])
        self.gpx.refine()
        good, message = self.said
        if not good:
            raise ValueError(f"the refinement ended with: {str(message).strip()}")
        done = self.gpx.data["Sequential results"]["data"]
        missing = [name for name in names if name not in done]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(names)} patterns have no result, the first is {missing[0]}"
            )
        for path in Path(self.gpx.filename).parent.glob("*.bak*.gpx"):
            path.unlink()

    def copy_first(self) -> None:
        """Give every pattern the values of the first."""
        first = self.names[0]
        for name in self.names[1:]:
            for key in ("Background", "Sample Parameters", "Instrument Parameters"):
                self.gpx.data[name][key] = copy.deepcopy(self.gpx.data[first][key])
            for phase in self.job["phases"]:
                every = self.gpx.data["Phases"][phase["name"]]["Histograms"]
                for key, value in every[first].items():
                    if key not in ("hId", "Histogram"):
                        every[name][key] = copy.deepcopy(value)

    def results(self, arrays: dict[str, Any]) -> list[dict[str, Any]]:
        """Return values, variables and figures of merit of every pattern; arrays go into `arrays`."""
        done = self.gpx.data["Sequential results"]["data"]
        found = []
        for number, name in enumerate(self.names):
            fit = done[name]
            data = self.gpx.data[name]["data"][1]
            arrays[f"covariance_{number}"] = np.asarray(fit["covMatrix"], dtype=float)
            for key, column in (("two_theta", 0), ("calculated", 3), ("background", 4)):
                arrays[f"{key}_{number}"] = np.ma.getdata(data[column]).astype(float)
            for phase in self.job["phases"]:
                every = self.gpx.data[name]["Reflection Lists"].get(phase["name"], {})
                arrays[f"reflections_{phase['name']}_{number}"] = np.asarray(
                    every.get("RefList", []), dtype=float
                )
            values = {
                key: float(value)
                for key, value in fit["parmDict"].items()
                if isinstance(value, float | int | np.floating) and math.isfinite(value)
            }
            rvals = fit["Rvals"]
            found.append(
                {
                    "values": values,
                    "varied": list(fit["varyList"]),
                    "dependent": {
                        key: [float(v) for v in pair] for key, pair in fit.get("depParmDict", {}).items()
                    },
                    "frozen": [str(item) for item in self._frozen(name)],
                    "converged": bool(rvals.get("converged")),
                    "singular": int(rvals.get("SVD0") or 0),
                    "rwp": float(rvals["Rwp"]),
                    "gof": float(rvals["GOF"]),
                    "observations": int(rvals["Nobs"]),
                }
            )
        return found

    def _frozen(self, name: str) -> list[Any]:
        return list(self.gpx.data["Controls"]["data"].get("parmFrozen", {}).get(name, []))


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

"""Tiny files as cyclers and gas analysers write them."""

from __future__ import annotations

from collections.abc import Sequence


def maccor(
    rows: Sequence[str] = (
        "1\t1\t1\t0.0\t0.0000\t0.000\t3.1001\tR\t5/14/2021 3:40:24 PM",
        "2\t1\t2\t0.5\t0.0001\t0.010\t3.2002\tC\t5/14/2021 3:40:54 PM",
        "3\t1\t2\t1.0\t0.0002\t0.010\t3.3003\tC\t5/14/2021 3:41:24 PM",
        "4\t1\t3\t2.5\t0.0001\t0.020\t3.1004\tD\t5/14/2021 3:42:54 PM",
        "5\t2\t3\t4.0\t0.0002\t0.020\t3.0005\tD\t5/14/2021 3:44:24 PM",
    ),
    header: str = "Rec\tCycle C\tStep\tTestTime\tCap. [Ah]\tCurrent [A]\tVoltage [V]\tMd\tDPT Time",
) -> str:
    return "\n".join(["Name:\tcell 3", "Tester\tMaccor #4", "", header, "", *rows, ""])


def mpt(
    rows: Sequence[str] = (
        "2\t1\t0.0\t3.50\t1.0\t1.000E+000",
        "2\t1\t1.0\t3.51\t1.0\t1.000E+000",
        "2\t1\t2.5\t3.52\t1.0\t2.000E+000",
    ),
    header: str = "mode\tox/red\ttime/s\tEwe/V\t<I>/mA\tcycle number\t",
    start: str = "04/06/2022 16:19:01",
) -> str:
    head = ["Chronopotentiometry", "", f"Acquisition started on : {start}", "Comments : 5 cm²", ""]
    count = len(head) + 3
    return "\n".join(["EC-Lab ASCII FILE", f"Nb header lines : {count}    ", *head, header, *rows, ""])


def zilien(voltages: int = 3, ions: int = 2, stated: int | None = None) -> str:
    head = [
        "num_header_lines\tNumber of header lines\t\tint\t{count}",
        "data_start\tLine number of data start (0-based)\t\tint\t{start}",
        "mass\tMeasurement mass\tC4M32\tdouble\t3.2e+01",
        "offset\tThe offset (time - EC-Lab time)\tpot_01\tdouble\t9.521071e+01",
        f"C4M32_count\tNumber of points\tC4M32\tint\t{ions if stated is None else stated}",
        f"pot_count\tNumber of points\tpot\tint\t{voltages}",
    ]
    names = ["pot\t\t\tPC value\t\tC4M32\t", "Time [s]\tVoltage [V]\tCycle [n]\t" + _CHANNELS]
    rows = []
    for i in range(max(voltages, ions)):
        pot = [f"{95 + i}.5", f"0.59{i}", "1"] if i < voltages else ["NaN"] * 3
        ion = [f"{i}.25", "994.5", f"{i}.5", f"{2 + i}e-10"] if i < ions else ["NaN"] * 4
        rows.append("\t".join(pot + ion))
    text = "\n".join([*head, *names, *rows, ""])
    return text.replace("{count}", str(len(head))).replace("{start}", str(len(head) + 2))


_CHANNELS = "Time [s]\tPressure [mbar]\tTime [s]\tM32-O2 [A]"

CSV = """# furnace of hutch B
time / s,Voltage / V,temperature [degC],m/z 32 [A],note
0.0,3.10,25.1,1e-10,a
1.5,3.20,26.2,2e-10,b
3.0,3.30,27.3,3e-10,c
"""

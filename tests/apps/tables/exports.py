"""The load of two weeks as grids, meters, databases and programs of statistics export it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pandas as pd

from tests.apps.tables.layouts import LOAD, TIMES

HOUR = pd.Timedelta("1h")
Row = Callable[[pd.Timestamp, float], str]


def lines(header: str, row: Row, above: str = "", below: str = "") -> str:
    """A text of a header and a line each hour, between others."""
    body = (row(time, load) for time, load in zip(TIMES, LOAD, strict=True))
    return above + "\n".join([header, *body]) + "\n" + below


def _number(time: pd.Timestamp) -> int:
    return int((time - TIMES[0]) / HOUR) + 1


def timed(form: Callable[[pd.Timestamp], str]) -> str:
    """A table in which a program writes times in its own form."""
    return lines("when;load", lambda t, x: f"{form(t)};{x}")


_EPOCHS = [int(time.timestamp()) for time in TIMES]
_ACCOUNT = "Station,Berlin\nUnit,MW\nMade,2024-02-01\n\n"
_RULE = "+---------------------+---------+\n"
_INFLUX = "2024-01-01T00:00:00Z,2024-02-01T00:00:00Z"

EXPORTS: dict[str, str] = {
    "Green Button": lines(
        "TYPE,DATE,START TIME,END TIME,load,UNITS,NOTES",
        lambda t, x: f"Electric usage,{t:%Y-%m-%d},{t:%H:%M},{t:%H}:59,{x},kWh,",
        'Name,JOHN DOE\nAddress,"1 MAIN ST, TOWN"\nAccount Number,123456\nService,Service 1\n\n',
    ),
    "an account of as many cells": lines("when,load", lambda t, x: f"{t},{x}", _ACCOUNT),
    "an account of fewer cells": lines(
        "when,load,note", lambda t, x: f"{t},{x},ok", _ACCOUNT.replace("\n\n", "\n")
    ),
    "Linky": lines(
        "Horodate;load",
        lambda t, x: f"{t.isoformat()};{x}",
        "PRM;Type;Debut;Fin\n1234;Courbe;01/01/2024;15/01/2024\n",
    ),
    "Open-Meteo": lines(
        "time,load",
        lambda t, x: f"{t:%Y-%m-%dT%H:%M},{x}",
        "latitude,longitude,elevation\n52.52,13.41,38.0\n\n",
    ),
    "ERCOT": lines("OperDay,HourEnding,load", lambda t, x: f"{t:%m/%d/%Y},{t.hour + 1:02d}:00,{x}"),
    "Datadis": lines(
        "CUPS;Fecha;Hora;load", lambda t, x: f"ES;{t:%Y/%m/%d};{t.hour + 1:02d}:00;{x}"
    ),
    "Fluvius": lines(
        "Van (datum);Van (tijdstip);Tot (datum);Tot (tijdstip);EAN;load",
        lambda t, x: (
            f'{t:%d-%m-%Y};{t:%H:%M:%S};{t + HOUR:%d-%m-%Y};{t + HOUR:%H:%M:%S};="54";="{x}"'
        ),
    ),
    "EIA": lines(
        "Data Date,Hour Number,Local Time at End of Hour,load",
        lambda t, x: f"{t:%m/%d/%Y},{t.hour + 1},{t + HOUR:%m/%d/%Y %I:%M:%S %p},{x}",
    ),
    "UTC before other times": lines(
        "Begin (local),Begin (UTC),load", lambda t, x: f"{t - 6 * HOUR},{t},{x}"
    ),
    "NSRDB": lines(
        "Year,Month,Day,Hour,Minute,load",
        lambda t, x: f"{t.year},{t.month},{t.day},{t.hour},0,{x}",
        "Source,Location ID,City,State,Country,Latitude,Longitude\nNSRDB,1,-,-,-,40.1,-105.2\n",
    ),
    "date, hour and minute": lines(
        "date,hour,minute,load", lambda t, x: f"{t:%Y-%m-%d},{t.hour},0,{x}"
    ),
    "InfluxDB": lines(
        ",result,table,_start,_stop,_time,load",
        lambda t, x: f",,0,{_INFLUX},{t:%Y-%m-%dT%H:%M:%SZ},{x}",
        "#group,false,false,true,true,false,false\n#default,_result,,,,,\n",
    ),
    "Southern California Edison": lines(
        "Energy consumption time period,load", lambda t, x: f'"{t} to {t + HOUR}",{x}'
    ),
    "pandas' series without a name": lines(",0", lambda t, x: f"{t},{x}"),
    "R with names of its rows": lines(
        '"time","load"', lambda t, x: f'"{_number(t)}","{t}",{x}'
    ),
    "psql": lines(
        "        time         |  load", lambda t, x: f" {t} | {x}", "", "(336 rows)\n"
    ).replace("load\n", "load\n---------------------+---------\n", 1),
    "mysql": lines(
        "| time                | load    |", lambda t, x: f"| {t} | {x:7} |", _RULE, _RULE
    ).replace("|\n", f"|\n{_RULE}", 1),
    "Markdown": lines("| time | load |", lambda t, x: f"| {t} | {x} |").replace(
        "|\n", "|\n|:-----|-----:|\n", 1
    ),
    "words below": lines("time,load", lambda t, x: f"{t},{x}", "", '\n"Source: me, as is"\n'),
    "blanks before quotes": lines('"time", "load"', lambda t, x: f'"{t}", "{x}"'),
    "SAS": timed(lambda t: f"{t:%d%b%Y:%H:%M:%S}".upper()),
    "Oracle": timed(lambda t: f"{t:%d-%b-%y %I.%M.%S}.000000 {'AP'[t.hour // 12]}M".upper()),
    "Italian": timed(lambda t: f"{t:%d.%m.%Y %H.%M.%S}"),
    "JavaScript": timed(lambda t: f"{t:%b} {t.day}, {t:%Y, %I:%M:%S} {'AP'[t.hour // 12]}M"),
    "Google": timed(lambda t: f"{t:%A, %B} {t.day}, {t:%Y %H:%M}"),
    "Excel in Chinese": timed(lambda t: f"{t.year}\u5e74{t.month}\u6708{t.day}\u65e5 {t.hour}:00"),
    "hours from - to": timed(lambda t: f"{t:%d/%m/%Y %H}-{t.hour + 1:02d}"),
    "rounded": timed(lambda t: f"{t - int(t.hour % 3 == 1) * pd.Timedelta('1us')}"),
    "Energy-Charts": json.dumps({"unix_seconds": _EPOCHS, "load": list(LOAD), "unit": "MW"}),
}  # fmt: skip

# Times with an offset from UTC, each of which is an hour ahead.
OFFSETS: dict[str, Callable[[pd.Timestamp], str]] = {
    "Java": lambda t: f"{t.isoformat()}+01:00[Europe/Berlin]",
    "JavaScript": lambda t: f"{t:%a %b %d %Y %H:%M:%S} GMT+0100 (Central European Standard Time)",
    "Go": lambda t: f"{t} +0100 UTC",
    "words": lambda t: f"{t} UTC+1",
}

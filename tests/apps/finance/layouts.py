"""The prices of forty days as their sources write them."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd

DAYS = 40
DATES = pd.bdate_range("2024-01-02", periods=DAYS)
CLOSE = np.round(1180 + 20 * np.sin(np.arange(DAYS) / 3) + np.arange(DAYS), 2)
HIGH, LOW, OPEN = CLOSE + 1.5, CLOSE - 2.5, CLOSE - 0.25
VOLUME = 1_200_000 + 10_000 * np.arange(DAYS)
ALL = list(zip(DATES, OPEN, HIGH, LOW, CLOSE, VOLUME, strict=True))


def lines(header: str, row: Callable[..., str], *, newest_first: bool = False) -> str:
    body = [row(*day) for day in (ALL[::-1] if newest_first else ALL)]
    return "\n".join([*header.splitlines(), *body]) + "\n"


def _kline(d: pd.Timestamp, o: float, h: float, low: float, c: float, v: int) -> str:
    start = int(d.timestamp() * 1000)
    return f"{start},{o:.8f},{h:.8f},{low:.8f},{c:.8f},{v}.0,{start + 86_399_999},1.5,7,0.5,0.7,0"


def _offset(d: pd.Timestamp) -> str:
    return "-05:00" if d < pd.Timestamp("2024-02-01") else "-04:00"


def _german(x: float) -> str:
    return f"{x:,.2f}".translate(str.maketrans(",.", ".,"))


_DAILY = {
    f"{d:%Y-%m-%d}": {"1. open": f"{o}", "2. high": f"{h}", "3. low": f"{low}", "4. close": f"{c}"}
    for d, o, h, low, c, _ in ALL[::-1]
}

LAYOUTS: dict[str, str] = {
    "yahoo": lines(
        "Date,Open,High,Low,Close,Adj Close,Volume",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{o},{h},{low},{2 * c},{c},{v}",
    ),
    "yfinance of one ticker": lines(
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c},{h},{low},{o},{v}",
    ),
    "yfinance by ticker": lines(
        "Ticker,AAPL,AAPL,AAPL\nPrice,Close,High,Low\nDate,,,",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c},{h},{low}",
    ),
    "yfinance without names": lines(
        ",Adj Close,Close,High,Low\n,AAPL,AAPL,AAPL,AAPL\nDate,,,,",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c},{2 * c},{h},{low}",
    ),
    "pandas without a name of its index": lines(
        ",Close,High,Low",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c},{h},{low}",
    ),
    "investing.com in Spanish": lines(
        '"Fecha","\u00daltimo","Apertura","M\u00e1ximo","M\u00ednimo","Vol.","% var."',
        lambda d, o, h, low, c, v: (
            f'"{d:%d.%m.%Y}","{_german(c)}","{_german(o)}","{_german(h)}","{_german(low)}","1,2M",""'
        ),
        newest_first=True,
    ),
    "a German bank": lines(
        "Datum;Er\u00f6ffnung;Hoch;Tief;Schlusskurs",
        lambda d, o, h, low, c, v: f"{d.day}-{d:%b-%y};{o};{h};{low};{c}",
    ),
    "CoinMarketCap": lines(
        "timeOpen;timeClose;name;open;high;low;close;volume;timestamp",
        lambda d, o, h, low, c, v: (
            f'"{d:%Y-%m-%d}T00:00:00.000Z";"{d:%Y-%m-%d}T23:59:59.999Z";"2781";{o};{h};{low};{c};{v};'
            f'"{d:%Y-%m-%d}T23:59:59.999Z"'
        ),
        newest_first=True,
    ),
    "Polygon in JSON": json.dumps(
        {
            "ticker": "AAPL",
            "results": [
                {"v": 5, "o": o, "c": c, "h": h, "l": low, "t": int(d.timestamp() * 1000)}
                for d, o, h, low, c, _ in ALL
            ],
        }
    ),
    "yfinance with an index": lines(
        "Price,Close,High,Low,Open,Volume\nDate,,,,,",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c},{h},{low},{o},{v}",
    ),
    "history()": lines(
        "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits",
        lambda d, o, h, low, c, v: (
            f"{d:%Y-%m-%d} 00:00:00{_offset(d)},{o},{h},{low},{c},{v},0.0,0.0"
        ),
    ),
    "stooq": lines(
        "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{o},{h},{low},{c},{v}",
    ),
    "stooq in bulk": lines(
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
        lambda d, o, h, low, c, v: f"AAPL.US,D,{d:%Y%m%d},000000,{o},{h},{low},{c},{v},0",
    ),
    "Alpha Vantage": lines(
        "timestamp,open,high,low,close,volume",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{o},{h},{low},{c},{v}",
        newest_first=True,
    ),
    "Alpha Vantage in JSON": json.dumps({"Meta Data": {"1": "x"}, "Time Series": _DAILY}),
    "nasdaq.com": lines(
        "Date,Close/Last,Volume,Open,High,Low",
        lambda d, o, h, low, c, v: f"{d:%m/%d/%Y},${c},{v},${o},${h},${low}",
        newest_first=True,
    ),
    "investing.com": lines(
        '"Date","Price","Open","High","Low","Vol.","Change %"',
        lambda d, o, h, low, c, v: (
            f'"{d:%m/%d/%Y}","{c:,.2f}","{o:,.2f}","{h:,.2f}","{low:,.2f}","{v / 1e6:.2f}M","0.1%"'
        ),
        newest_first=True,
    ),
    "investing.com in German": lines(
        '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"',
        lambda d, o, h, low, c, v: (
            f'"{d:%d.%m.%Y}","{_german(c)}","{_german(o)}","{_german(h)}","{_german(low)}","","0,1%"'
        ),
        newest_first=True,
    ),
    "Binance klines": lines("", _kline).lstrip(),
    "Bloomberg": lines(
        "Date,PX_LAST,HIGH,LOW",
        lambda d, o, h, low, c, v: f"{d.month}/{d.day}/{d:%Y},{c},{h},{low}",
    ).replace("Date", "Security,SPX Index\nStart Date,1/2/2024\nCurrency,USD\n\nDate", 1),
    "quantmod": lines(
        '"","AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Adjusted"',
        lambda d, o, h, low, c, v: f'"{d:%Y-%m-%d}",{o},{h},{low},{2 * c},{c}',
    ),
    "tidyquant": lines(
        "symbol,date,open,high,low,close,adjusted",
        lambda d, o, h, low, c, v: f"AAPL,{d:%Y-%m-%d},{o},{h},{low},{2 * c},{c}",
    ),
    "Nasdaq Nordic": lines(
        "sep=;\nDate;Bid;Opening price;High price;Low price;Closing price;",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d};{c};{o};{h};{low};{c};".replace(".", ","),
        newest_first=True,
    ),
    "CRSP in SAS": lines(
        "PERMNO,date,TICKER,PRC,HIGH,LOW",
        lambda d, o, h, low, c, v: f"10107,{d:%d}{d:%b%Y}".upper() + f",MSFT,{c},{h},{low}",
    ),
    "FRED": lines(
        "observation_date,SP500\n2024-01-01,.",
        lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c}",
    ),
}

"""Makes a Volatility 3 symbol table for a builder kernel without a public table.

    python3 symbol_table.py NEAREST.json.xz LAYOUTS.json ERA.rs TABLE.json.xz

NEAREST is the public table of the nearest kernel (10.0.22000.318 for Windows 11 22H2 and
24H2, 10.0.14393.4583 for 1803). Its types get the offsets and sizes of LAYOUTS
(assets/layouts/26100.json). Its symbols get the addresses of the builder's kernel
(src/synth/era/win11_24h2.rs; 22H2 uses those of win11.rs, 1803 those of win10_1607.rs); other
symbols are removed. The name of TABLE is the identity of the builder's kernel, one byte
repeated sixteen times: 26262626262626262626262626262626-1.json.xz.

This tests another program's reading, with the same layouts that poolscope uses.
"""

import json
import lzma
import os
import re
import sys

NUMBERS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned long", 8: "unsigned long long"}


def take_layouts(types, layouts):
    for name, fields in layouts.items():
        if name not in types:
            continue
        ours = types[name]
        size = fields.get(".", [0, 0])[1]
        ours["size"] = size or ours["size"]
        for field, place in fields.items():
            if field in ours["fields"]:
                ours["fields"][field]["offset"] = place[0]
            elif "." not in field and place[1] in NUMBERS:
                number = {"kind": "base", "name": NUMBERS[place[1]]}
                ours["fields"][field] = {"offset": place[0], "type": number}


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    nearest, layouts, era, out = sys.argv[1:]
    table = json.load(lzma.open(nearest))
    with open(layouts, encoding="utf-8") as file:
        take_layouts(table["user_types"], json.load(file)["types"])
    with open(era, encoding="utf-8") as file:
        text = file.read()
    rows = text[text.index("static SYMBOLS") :].split("];")[0]
    rvas = {n: int(a, 16) for n, a in re.findall(r'\("(\w+)", 0x([0-9a-f]+)\)', rows)}
    table["symbols"] = {n: s for n, s in table["symbols"].items() if n in rvas}
    for name, symbol in table["symbols"].items():
        symbol["address"] = rvas[name]
    guid, age = os.path.basename(out).split(".")[0].split("-")
    table["metadata"]["windows"]["pdb"].update(GUID=guid, age=int(age))
    json.dump(table, lzma.open(out, "wt"))


if __name__ == "__main__":
    main()

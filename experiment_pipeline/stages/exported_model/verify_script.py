"""verify.py, the script that travels with every exported model, as text.

It proves that the model predicts here what it predicted when it was exported. The export
runs it in a fresh process before a version becomes visible; who receives the model can run
it again. It imports nothing of this package.
"""

VERIFY = '''\
"""Check that the model in this folder predicts here what it predicted at its export.

Usage: python verify.py. Needs the packages of environment.txt. Exit code 1 = it does not.
"""

import json
from pathlib import Path

import pandas as pd
import skops.io

HERE = Path(__file__).parent


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def differences():
    model = skops.io.load(HERE / "model.skops", trusted=read("trusted_types.json"))
    example = pd.DataFrame(read("input_example.json"), dtype=object)
    rows = example.astype(read("signature.json")["features"])
    expected = read("expected_predictions.json")
    for method, before in expected.items():
        now = getattr(model, method)(rows).tolist()
        for number, (was, is_now) in enumerate(zip(before, now, strict=True)):
            if json.dumps(was) != json.dumps(is_now):
                yield f"{method}, example row {number}: was {was}, is {is_now}"


if __name__ == "__main__":
    found = list(differences())
    if found:
        raise SystemExit("\\n".join(found))
    print("the model predicts what it predicted at its export")
'''

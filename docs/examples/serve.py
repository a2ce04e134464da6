"""The champion of an experiment behind an HTTP API.

EXPERIMENT=churn uvicorn serve:app curl -s localhost:8000/predict -H 'content-type:
application/json' -d '[{"age": 41, "plan": "basic"}]'
"""

import json
import os
from typing import Any

import pandas as pd
from fastapi import FastAPI, HTTPException

import experiment_pipeline as ep

# Verified and loaded once; a newer champion is served after a restart.
model = ep.champion(os.environ["EXPERIMENT"])
app = FastAPI(title=model.name)


@app.post("/predict")
def predict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Predict for rows as delivered; rejected ones come back with their reasons."""
    try:
        found = model.predict(pd.DataFrame(rows))
    except ep.DataError as error:  # such as a missing column: culprit, rule and fix
        raise HTTPException(422, str(error)) from error
    return {
        "model": model.name,
        "predictions": _records(found.predictions),
        "rejected": _records(found.rejected),
        "notes": found.notes,
    }


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    # pandas writes missing values as null, which JSON's own writer does not.
    records: list[dict[str, Any]] = json.loads(
        rows.to_json(orient="records", date_format="iso")
    )
    return records

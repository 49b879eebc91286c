"""The schema of deliveries: documented, fixed, and free of clashes."""

from __future__ import annotations

import astropy.units as u
import pyarrow as pa
import pyarrow.types as pt
import pytest

from finkbridge.surveys import COMMON_SCHEMA, SURVEYS, deliveries_schema, lsst, own_schema, ztf
from tests.surveys.avro_tables import Alerts

COMMON = [
    "object_id",
    "source_id",
    "mjd",
    "ra",
    "dec",
    "healpix_29",
    "band",
    "mag",
    "mag_err",
    "mag_lim",
    "flux",
    "flux_err",
    "is_positive",
    "reliability",
    "n_det",
    "class",
    "simbad",
    "tns",
    "sso_name",
    "emitted",
]


def test_common_columns_come_first_in_every_survey() -> None:
    assert COMMON_SCHEMA.names == COMMON
    for survey in SURVEYS:
        assert deliveries_schema(survey).names[: len(COMMON)] == COMMON
    assert own_schema("other").names == []


@pytest.mark.parametrize("survey", SURVEYS)
def test_every_column_has_a_unit_and_a_description(survey: str) -> None:
    for field in deliveries_schema(survey):
        assert len(field.metadata[b"description"]) > 10, field.name
        u.Unit(field.metadata[b"unit"].decode(), parse_strict="raise")
        assert not (field.metadata[b"unit"] and not pt.is_floating(field.type)), field.name


def test_names_are_unique_whatever_the_case_and_of_one_type_in_all_surveys() -> None:
    types: dict[str, pa.DataType] = {}
    for survey in SURVEYS:
        names = [name.casefold() for name in deliveries_schema(survey).names]
        assert len(set(names)) == len(names)
        for field in deliveries_schema(survey):
            assert types.setdefault(field.name.casefold(), field.type) == field.type


def leaf_types(arrow_type: pa.DataType, path: str) -> dict[str, pa.DataType]:
    if not pt.is_struct(arrow_type):
        return {path: arrow_type}
    return {p: t for f in arrow_type.fields for p, t in leaf_types(f.type, f"{path}.{f.name}").items()}


def test_own_columns_have_the_real_fields_types(ztf_alerts: Alerts, lsst_alerts: Alerts) -> None:
    for module, alerts in ((ztf, ztf_alerts), (lsst, lsst_alerts)):
        real = {p: t for f in alerts.table.schema for p, t in leaf_types(f.type, f.name).items()}
        real |= {f"blazar_stats.m{i}": pa.float32() for i in range(3)}
        assert {c.path: real[c.path] for c in module.OWN_COLUMNS} == {
            c.path: c.type for c in module.OWN_COLUMNS
        }


def test_all_leaves_of_finks_structs_are_columns(lsst_alerts: Alerts) -> None:
    names = own_schema("lsst").names
    for struct in ("clf", "xm", "pred", "misc"):
        for path in leaf_types(lsst_alerts.table.schema.field(struct).type, struct):
            assert path.replace(".", "_") in names


def test_all_scores_of_one_kind_are_columns(ztf_alerts: Alerts) -> None:
    names = own_schema("ztf").names
    kinds = ("rf_", "snn_", "anomaly_score")
    assert [
        name for name in ztf_alerts.table.column_names if name.startswith(kinds) and name not in names
    ] == []

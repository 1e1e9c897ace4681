"""From the API's pydantic models to CustomResourceDefinitions and reference pages. What cannot be said is an error."""

from speechless_operator.crd.definition import all_crds, crd
from speechless_operator.crd.schema import SchemaError, structural_schema

__all__ = ["SchemaError", "all_crds", "crd", "structural_schema"]

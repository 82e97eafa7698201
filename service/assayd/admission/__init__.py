"""Who may come in, and with how much at once: keys and tenants, quotas, permits."""

from .admitting import Admission, Permit
from .tenants import ANYONE, OPEN, Tenant, Visitor

__all__ = ["ANYONE", "OPEN", "Admission", "Permit", "Tenant", "Visitor"]

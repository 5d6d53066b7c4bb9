"""Every kind of audit record, in one list. Codes are stable and documented in `docs/reference/audit.md`."""

from enum import StrEnum


class Code(StrEnum):
    SERVICE_STARTED = "service.started"
    SERVICE_STOPPED = "service.stopped"
    LOG_REPAIRED = "log.repaired"
    LOG_RECOVERED = "log.recovered"
    BROKER_RESTARTED = "broker.restarted"
    POLICY_LOADED = "policy.loaded"
    POLICY_RELOAD_FAILED = "policy.reload_failed"
    AUTH_FAILED = "auth.failed"
    CALL_DENIED = "call.denied"
    CALL_LIMITED = "call.limited"
    JOB_STARTED = "job.started"
    JOB_RESUMED = "job.resumed"
    JOB_REFUSED = "job.refused"
    JOB_REPLAYED = "job.replayed"
    JOB_READ = "job.read"
    JOBS_LISTED = "jobs.listed"
    JOB_CANCEL = "job.cancel"
    JOB_ENDED = "job.ended"
    JOBS_PRUNED = "jobs.pruned"
    JOBS_SET_ASIDE = "jobs.set_aside"
    CERTIFICATE_ISSUED = "certificate.issued"

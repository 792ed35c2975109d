"""Ends a training at a chosen step, as a kill would: nothing of zodi catches it, nothing more is saved."""


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill_after(step):
    """A `stopped` that kills when it is asked for the n-th time, after that step and before anything is saved."""
    asked = 0

    def stopped():
        nonlocal asked
        asked += 1
        if asked == step:
            raise Killed
        return False

    return stopped

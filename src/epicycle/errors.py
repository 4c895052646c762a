"""The errors a user can mend. Each message says what was given, what was expected and what to do, in that order."""


class EpicycleError(Exception):
    """Something the user can fix; the command line prints it as one sentence and exits with 2."""


class ConfigError(EpicycleError, ValueError):
    """A setting has a value outside its range, or two settings contradict each other."""


class FormulaError(EpicycleError, ValueError):
    """A formula cannot be read, or has no meaning at this modulus. Carries the position of the fault."""

    def __init__(self, message: str, formula: str = "", position: int | None = None):
        self.formula, self.position = formula, position
        if position is not None:
            message = f"{message}\n  {formula}\n  {' ' * position}^"
        super().__init__(message)


class DataError(EpicycleError, ValueError):
    """A file or an array does not hold what was asked of it."""


class RunError(EpicycleError, RuntimeError):
    """A run directory is missing, belongs to another configuration, or is damaged."""


class DiskError(RunError):
    """A file cannot be written: the disk is full, or the place is read-only."""

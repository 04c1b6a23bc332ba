"""The whole kit as a class of tests, for pytest, which is not imported: the class has what pytest looks for."""

from typing import Any, ClassVar, final

from kernelwire.testing.harness import Harness
from kernelwire.testing.kit import Behaviour, Level, Status
from kernelwire.testing.suite import cases, check_claims_match, try_one


class TransportConformance:
    """One test for each behaviour that applies, and one for each capability that is not claimed. To be subclassed::

        class TestMine(TransportConformance):
            harness = BackendHarness("mine")

    Nothing else may stand in such a class, so that no behaviour can be left out: what fails as the author knows goes
    into the harness's `known`.

    Attributes:
        harness: what to try; a class of harnesses will do as well.

    Raises:
        TypeError: a subclass that overrides a test, or has anything else of its own, or from another base.
        TransportUnavailable: a harness that claims something else than its backend does.
    """

    harness: ClassVar[Harness | type[Harness]]

    def __init_subclass__(cls) -> None:
        bases = set(cls.__mro__) - {TransportConformance, object}
        own = {name for base in bases for name in vars(base) if not name.startswith("__")} - {"harness"}
        if own:
            raise TypeError(f"{cls.__name__}: {min(own)} may not be overridden; only `harness` is the author's")

    @classmethod
    def _made(cls) -> Harness:
        harness = cls.harness
        return harness() if isinstance(harness, type) else harness

    @final
    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Called by pytest, to learn what there is to try."""
        harness = self._made()
        check_claims_match(harness)
        metafunc.parametrize("behaviour", cases(harness), ids=lambda each: each.name)

    @final
    def test_behaviour(self, behaviour: Behaviour) -> None:
        """Try one of them."""
        outcome = try_one(self._made(), behaviour)
        if outcome.status is Status.KNOWN and behaviour.level is not Level.CORE:
            from unittest import SkipTest  # pytest knows it too

            raise SkipTest(f"known {outcome.note}")
        assert outcome.status not in (Status.FAIL, Status.KNOWN), str(outcome)

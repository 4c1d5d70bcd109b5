"""By which policy, and with which pruning method, answers are made, and who says which category a prompt has."""

from __future__ import annotations

import copy
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import PromptError, RouterError
from clasp_trt.methods import Method, get
from clasp_trt.policy import Policy
from clasp_trt.runtime.fitting import check_method, columns, routing
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.routing.router import OwnRouter, Route, Router, forced


class Manner:
    """A policy, a method and a router for a bundle. Raises :class:`clasp_trt.errors.PolicyError`,
    :class:`~clasp_trt.errors.MethodError` or :class:`~clasp_trt.errors.RouterError` for what the bundle cannot follow.
    """

    def __init__(
        self,
        bundle: Bundle,
        policy: Policy | None = None,
        method: Method | None = None,
        router: str | PathLike[str] | Router | None = None,
    ) -> None:
        self._bundle = bundle
        self.router: Router
        self._given_router = router
        self._routed: Policy | None = None
        self._opened: list[OwnRouter] = []  # of variants too
        self._adopt(policy or bundle.policy, method or get(bundle.manifest.method))

    def variant(self, policy: Policy | None = None, method: Method | None = None) -> Manner:
        """This one with another policy or method; what is None stays as it is. A router that it needs is opened, and
        closed with this one's. Raises as the constructor does."""
        other = copy.copy(self)
        other._adopt(policy or self.policy, method or self.method)
        return other

    def route(self, text: str, category: str | None) -> Route:
        """The decision of the router for what is asked in ``text``, or the ``category`` that was asked for. Raises
        :class:`PromptError` for one that the policy does not have."""
        if category is None:
            return self.router.route(text)
        if category not in self._names:
            raise PromptError(
                f"category {category!r} is not in the bundle's policy; expected one of: {', '.join(self._names)}"
            )
        return forced(self._names, self._names.index(category))

    def alpha(self, category: int) -> NDArray[np.float32]:
        """Weights of the exported layers, float32 ``[1, layers]``: those of the category, or of the trained layer alone
        for a method that does not fuse."""
        layers = self._bundle.policy.layers
        alpha = np.zeros((1, len(layers)), dtype=np.float32)
        if self.method.fused:
            alpha[0, self._columns] = self.policy.alpha(category)
        else:
            alpha[0, layers.index(self._bundle.manifest.model.vision.feature_layer)] = 1
        return alpha

    def close(self) -> None:
        """Gives back what the routers hold that were opened here, for this one and for its variants."""
        for router in self._opened:
            router.close()

    def _adopt(self, policy: Policy, method: Method) -> None:
        """Takes on a policy and a method, with all that follows from them."""
        names = tuple(category.name for category in policy.categories)
        places = columns(policy.layers, self._bundle.policy.layers)
        check_method(method, self._bundle)
        self.policy, self.method = policy, method
        self._names, self._columns = names, places
        self._adopt_router(policy)

    def _adopt_router(self, policy: Policy) -> None:
        """A router knows names and threshold, which most policies share: a folder is read again for others alone."""
        before, self._routed = self._routed, policy
        if before is not None and routing(before) == routing(policy):
            return
        given = self._given_router
        if given is None or isinstance(given, (str, PathLike)):
            own = router_for(policy, self._bundle, given)
            self._opened.append(own)
            self.router = own
            return
        if given.names != self._names:
            raise RouterError(
                f"the router knows the categories {', '.join(given.names)}, but the policy has "
                f"{', '.join(self._names)}; give a router for this policy"
            )
        self.router = given

"""The addresses of the viewer. Slides and tiles are named by numbers; whatever is not on the list is a 404 with a word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock

import cachetools
import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from common.failures import SlideError, StudyError
from common.templates import render
from mil.runs.notices import SYNTHETIC, USE
from mil.viewer.catalogue import Catalogue, ListedSlide, as_json
from mil.viewer.curves import survival_json
from mil.viewer.guard import REPORT_POLICY, OwnPageOnly
from mil.viewer.layers import Places, SlideLayers, layers_json, slide_layers
from mil.viewer.neighbours import Neighbours
from mil.viewer.open_slides import Geometry, SlideShelf

FOLDER = Path(__file__).parent
FILES = {"viewer.js": "text/javascript", "page.js": "text/javascript", "viewer.css": "text/css"}
HELD_LAYERS = 16  # slides whose layers stay in memory


class _Viewer:
    """What the addresses answer from."""

    def __init__(self, catalogue: Catalogue, *, most_open: int, memory_bytes: int) -> None:
        self.catalogue = catalogue
        self.shelf = SlideShelf(catalogue, most_open=most_open, memory_bytes=memory_bytes)
        self.neighbours = Neighbours(catalogue, memory_bytes=memory_bytes)
        self._layers: cachetools.LRUCache = cachetools.LRUCache(HELD_LAYERS)
        self._lock = Lock()

    def slide(self, request: Request) -> ListedSlide:
        """Return the slide that an address names."""
        found = self.catalogue.slide(request.path_params["slide"])
        if found is None:
            raise HTTPException(404, "there is no such slide")
        return found

    def layers(self, slide: ListedSlide) -> tuple[Geometry | None, SlideLayers, str]:
        """Return geometry and layers of a slide, and why it cannot be shown."""
        with self._lock:
            if slide.number in self._layers:
                return self._layers[slide.number]
        geometry, tiles, fault = None, None, ""
        try:
            geometry, tiles = self.shelf.geometry(slide.number), self.shelf.tiles(slide.number)
        except SlideError as error:
            fault = str(error)
        made = geometry, slide_layers(self.catalogue.study, slide, geometry, tiles), fault
        with self._lock:
            self._layers[slide.number] = made
        return made

    def places(self, slide: ListedSlide, name: str) -> Places:
        """Return some tiles of a slide."""
        places = self.layers(slide)[1].places
        if name not in places:
            raise HTTPException(404, "this slide has no such tiles")
        return places[name]


def viewer_app(catalogue: Catalogue, *, most_open: int = 8, memory_bytes: int = 256 << 20) -> Starlette:
    """Return the viewer of a study as an ASGI application.

    Args:
        catalogue: what it shows.
        most_open: slides held open at once.
        memory_bytes: for pictures, and as much for embeddings.
    """
    viewer = _Viewer(catalogue, most_open=most_open, memory_bytes=memory_bytes)

    def page(_: Request) -> Response:
        return HTMLResponse(
            render(FOLDER, "viewer.html", study=catalogue.study.root.resolve().name, use=USE, synthetic=SYNTHETIC)
        )

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, "there is no such file")
        return Response((FOLDER / "templates" / name).read_bytes(), media_type=FILES[name])

    def listing(_: Request) -> Response:
        return JSONResponse(as_json(catalogue))

    def about(request: Request) -> Response:
        slide = viewer.slide(request)
        geometry, layers, fault = viewer.layers(slide)
        return JSONResponse(layers_json(slide, geometry, layers, fault))

    def places(request: Request) -> Response:
        return _numbers(viewer.places(viewer.slide(request), request.path_params["of"]).corners_um)

    def values(request: Request) -> Response:
        layers, at = viewer.layers(viewer.slide(request))[1].layers, request.path_params["layer"]
        if not 0 <= at < len(layers):
            raise HTTPException(404, "there is no such layer")
        return _numbers(layers[at].values)

    def square(request: Request) -> Response:
        slide, at = viewer.slide(request), request.path_params
        if not viewer.shelf.geometry(slide.number).has(at["level"], at["column"], at["row"]):
            raise HTTPException(404, "the slide does not reach so far")
        return _picture(viewer.shelf.square(slide.number, at["level"], at["column"], at["row"]))

    def crop(request: Request) -> Response:
        slide, at = viewer.slide(request), request.path_params["tile"]
        own = viewer.places(slide, request.path_params["of"])
        if at >= len(own.corners_um):
            raise HTTPException(404, "there is no such tile")
        x, y = (float(value) for value in own.corners_um[at])
        return _picture(viewer.shelf.crop(slide.number, (x, y), own.tile_um))

    def near(request: Request) -> Response:
        found = viewer.neighbours.of_tile(viewer.slide(request).number, request.path_params["tile"])
        told = [{"slide": one.slide, "tile": one.tile, "likeness": round(one.likeness, 4)} for one in found]
        return JSONResponse({"searched": viewer.neighbours.n_slides, "found": told})

    def survival(request: Request) -> Response:
        run = catalogue.run
        if run is None or "log_hazard" not in run.predictions:
            raise HTTPException(404, "this run predicts no survival")
        return JSONResponse(survival_json(run, request.query_params.get("patient", "")))

    def report(_: Request) -> Response:
        path = catalogue.folder.report
        if not path.is_file():
            raise HTTPException(404, "this run has no report")
        return Response(path.read_bytes(), media_type="text/html", headers={"content-security-policy": REPORT_POLICY})

    @asynccontextmanager
    async def closing(_: Starlette) -> AsyncIterator[None]:
        yield
        viewer.shelf.close()

    slide = "/slides/{slide:int}"
    routes = [
        Route("/", page), Route("/files/{name}", file), Route("/catalogue", listing), Route("/report", report),
        Route("/survival", survival), Route(slide, about), Route(slide + "/places/{of}", places),
        Route(slide + "/values/{layer:int}", values), Route(slide + "/near/{tile:int}", near),
        Route(slide + "/squares/{level:int}/{column:int}/{row:int}.jpg", square),
        Route(slide + "/tiles/{of}/{tile:int}.jpg", crop),
    ]  # fmt: skip
    faults: dict[type[Exception] | int, Callable] = {
        SlideError: _fault, StudyError: _fault, HTTPException: lambda _, error: _words(error.detail, error.status_code),
    }  # fmt: skip
    return Starlette(routes=routes, middleware=[Middleware(OwnPageOnly)], exception_handlers=faults, lifespan=closing)


def _fault(_: Request, error: Exception) -> Response:
    """Answer what a slide or a study is in the way of: 422, with the words that a status table would have."""
    return _words(str(error), 422)


def _words(text: str, status: int) -> Response:
    return PlainTextResponse(text, status_code=status)


def _numbers(values: np.ndarray) -> Response:
    """Return numbers as little-endian single precision."""
    return Response(np.ascontiguousarray(values, "<f4").tobytes(), media_type="application/octet-stream")


def _picture(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

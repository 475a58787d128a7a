"""Runs the cases of cases.json by the Python client; conformance.c does the same by the C library.

usage: conformance.py CASES      beside an agent, see ../with_agent.c
"""
import json
import os
import sys

try:
    import google.protobuf  # noqa: F401
    import numpy
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import legonet
from legonet import errors, tensors

TIMEOUT = 120


class Failure(Exception):
    """What a case expects does not hold."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Runner:
    def __init__(self, client):
        self.client = client
        self.replies = {}
        self.regions = {}

    def close(self):
        for region in self.regions.values():
            region.close()
        self.client.close()

    # ---- requests ----

    def input_of(self, spec):
        shape, datatype = tuple(spec["shape"]), spec["datatype"]
        if "region" in spec:
            return legonet.RegionTensor(spec["region"], datatype, shape, spec.get("offset", 0))
        dtype = tensors.DTYPES[datatype]
        if "fill" in spec:
            return numpy.full(shape, spec["fill"], dtype)
        return numpy.array(spec["values"], dtype).reshape(shape)

    def frame_of(self, spec):
        fields = {key: value for key, value in spec.items() if key != "bytes"}
        if "bytes" in spec:  # a pattern
            fields["data"] = bytes(i * 7 % 251 for i in range(spec["bytes"]))
        if "stripes" in spec:  # upright, of one colour each
            colors = fields.pop("stripes")
            row = [color for x in range(spec["width"]) for color in colors[x * len(colors) // spec["width"]]]
            fields["data"] = bytes(row * spec["height"])
        return legonet.Frame(**fields)

    def options_of(self, step):
        outputs = {name: None for name in step.get("outputs", ())}
        for name, place in step.get("places", {}).items():
            outputs[name] = legonet.RegionTensor(place["region"], place["datatype"],
                                                 tuple(place["shape"]), place["offset"])
        options = {key: step[key] for key in ("version", "top", "priority", "stream") if key in step}
        if "deadline_ms" in step:
            options["deadline"] = step["deadline_ms"] / 1000
        if "stream_bytes" in step:
            options["stream"] = "s" * step["stream_bytes"]
        if "answers" in step:
            options["answers"] = step["answers"]
        if "frames" in step:
            options["frames"] = [self.frame_of(frame) for frame in step["frames"]]
        return dict(options, outputs=outputs)

    def submit(self, step):
        inputs = {spec["name"]: self.input_of(spec) for spec in step.get("inputs", ())}
        return self.client.submit(step["model"], inputs, **self.options_of(step))

    # ---- steps: each returns what check_* looks at ----

    def do_infer(self, step):
        return self.submit(step).result(TIMEOUT)

    def do_submit(self, step):
        self.replies[step["as"]] = self.submit(step)

    def do_wait(self, step):
        return self.replies.pop(step["for"]).result(TIMEOUT)

    def do_cancel(self, step):
        expect(self.replies[step["for"]].cancel(), "it was answered already")

    def do_server(self, step):
        return self.client.server()

    def do_metrics(self, step):
        return self.client.metrics()

    def do_models(self, step):
        return self.client.models()

    def do_model(self, step):
        return self.client.model(step["model"], step.get("version", ""))

    def do_load(self, step):
        self.client.load(step["model"])

    def do_unload(self, step):
        self.client.unload(step["model"])

    def do_rollback(self, step):
        self.client.rollback(step["model"])

    def do_region(self, step):
        name, size, writable = step["name"], step["bytes"], step.get("writable", False)
        if step.get("unsealed"):
            fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, size)
            try:
                self.client.register(name, fd, writable=writable)
            finally:
                os.close(fd)
            return
        region = self.client.region(name, size, writable)
        region.put(numpy.array(step.get("values", []), "f4"))
        self.regions[name] = region

    def do_unregister(self, step):
        names = [step["name"]] if "name" in step else []
        self.client.unregister(*names)

    # ---- expectations ----

    def check_outputs(self, result, wanted):
        expect(list(result.outputs) == [w["name"] for w in wanted], f"outputs {list(result.outputs)}")
        for want in wanted:
            value = result[want["name"]]
            if "region" in want:
                expect((value.region, value.offset) == (want["region"], want["offset"]), value)
                value = self.regions[want["region"]].array(value)
            expect(value.dtype == tensors.DTYPES[want["datatype"]], value.dtype)
            expect(list(value.shape) == want["shape"], value.shape)
            if want["values"] == "same rows":
                expect((value == value[0]).all() and value.any(), value)
            else:
                expected = numpy.array(want["values"], value.dtype).reshape(value.shape)
                expect((value == expected).all(), value)

    def check_classes(self, result, wanted):
        expect(len(result.classes) == wanted, f"{len(result.classes)} classes")
        model = self.client.model(result.model)
        for one in result.classes:
            expect(model.labels[one.index] == one.label, one)

    def check_answers(self, result, wanted):
        def shown(one):
            shown = {"row": one.row, "classes": len(one.classes)}
            if one.mask is not None:
                place = [one.mask.left, one.mask.top, one.mask.right, one.mask.bottom, *reversed(one.mask.values.shape)]
                rows = {"".join(str(value) for value in row) for row in one.mask.values}
                shown["mask"] = {"place": place, "rows": rows.pop() if len(rows) == 1 else "not alike"}
            return shown

        got = [shown(one) for one in result.answers]
        expect(got == wanted, got)
        model = self.client.model(result.model)
        for one in result.answers:
            expect(one.kind == ("CLASSIFICATION" if one.mask is None else "SEGMENTATION"), one)
            expect(all(model.labels[c.index] == c.label for c in one.classes), one)

    def check_label(self, result, wanted):
        expect(result.classes[0].label == wanted, result.classes)

    def check_text(self, value, wanted):
        expect(wanted in str(value), value)

    def check_status(self, value, wanted):
        expect(wanted == "OK", "it succeeds")

    def check_name(self, value, wanted):
        expect(value.name == wanted, value.name)

    def check_live(self, value, wanted):
        expect(self.client.live() == wanted, "not live")

    def check_extensions(self, value, wanted):
        expect(set(wanted) <= set(value.extensions), value.extensions)

    def check_models(self, value, wanted):
        states = {model.name: model.state for model in value}
        for name, state in wanted.items():
            expect(states.get(name) == state, states)

    def check_tensors(self, value, wanted):
        expect([{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in value] == wanted, value)

    def check_inputs(self, value, wanted):
        self.check_tensors(value.inputs, wanted)

    def check_labels(self, value, wanted):
        expect(value.labels == wanted, value.labels)

    def check_pictures(self, value, wanted):
        expect((value.preprocess is not None) == wanted, value.preprocess)

    def run(self, step):
        wanted = step.get("expect", {})
        try:
            value = getattr(self, "do_" + step["do"])(step)
        except errors.Error as error:
            expect(error.status == wanted.get("status", "OK"), f"{error.status}: {error}")
            expect(wanted.get("text", "") in str(error), f"{error.status}: {error}")
            return
        for key, want in wanted.items():
            if key == "outputs" and step["do"] == "model":
                self.check_tensors(value.outputs, want)
            else:
                getattr(self, "check_" + key)(value, want)


def main():
    failed = 0
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        runner = Runner(legonet.Client(timeout=TIMEOUT))
        try:
            for i, step in enumerate(case["steps"]):
                try:
                    runner.run(step)
                except Failure as failure:
                    raise Failure(f"step {i} ({step['do']}): {failure}") from None
            print(f"ok: {case['name']}")
        except Failure as failure:
            print(f"FAILED: {case['name']}: {failure}")
            failed += 1
        finally:
            runner.close()
    print(f"{len(cases) - failed} of {len(cases)} cases hold")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())

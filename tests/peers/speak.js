// Speaks a sentence into a WAV file by npm's mespeak.
// usage: node speak.js PACKAGE OUT.wav TEXT VOICE
'use strict';
const fs = require('fs');
const path = require('path');
const [folder, out, text, voice] = process.argv.slice(2);
const speech = require(path.resolve(folder));
speech.loadConfig(require(path.resolve(folder, 'src/mespeak_config.json')));
speech.loadVoice(require(path.resolve(folder, `voices/${voice}.json`)));
fs.writeFileSync(out, Buffer.from(speech.speak(text, { rawdata: 'buffer', speed: 150 })));

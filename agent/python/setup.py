"""Adds to setuptools what pyproject.toml cannot say: protoc compiles the protocol into the package."""
import pathlib
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = pathlib.Path(__file__).resolve().parent.parent / "proto"


class BuildWithProtocol(build_py):
    def run(self):
        super().run()
        target = pathlib.Path(self.build_lib) / "legonet" / "protocol.desc"
        target.parent.mkdir(parents=True, exist_ok=True)
        command = ["protoc", f"-I{PROTO}", "--include_imports", f"--descriptor_set_out={target}",
                   str(PROTO / "legonet.proto")]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            raise SystemExit("protoc is needed to build this package: apt install protobuf-compiler")


setup(cmdclass={"build_py": BuildWithProtocol})

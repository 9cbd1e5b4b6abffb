mod bench;
mod crash;
mod journey;
mod refuse;

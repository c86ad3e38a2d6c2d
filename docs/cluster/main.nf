// A study from slides to a report by Nextflow, in the folder of the repository:
//
//   nextflow run docs/cluster/main.nf --study /shared/study --shards 8 -resume
//
// Exit code 1 of a step over slides says that some slides failed (status.csv says which) and the rest is done: it does not
// stop the study. Give -process.executor slurm for jobs of Slurm. Files stay in the study folder, which all machines see under one path.
params.study = 'study'
params.shards = 4
params.encoder = 'efficientnet_lite0'
params.task = 'subtype'
params.python = 'python'

process TILES {
    cpus 4
    input:
    val shard
    output:
    val shard
    script:
    """
    cd ${launchDir}
    ${params.python} preprocessing/tile_slides.py --study ${params.study} --workers ${task.cpus} --shard ${shard}/${params.shards} || [ \$? -eq 1 ]
    """
}

process FEATURES {
    cpus 4
    input:
    val shard
    output:
    val shard
    script:
    """
    cd ${launchDir}
    ${params.python} features/extract_features.py --study ${params.study} --encoder ${params.encoder} --shard ${shard}/${params.shards} || [ \$? -eq 1 ]
    """
}

process FOLDS {
    output:
    val true
    script:
    """
    cd ${launchDir}
    ${params.python} splits/make_splits.py --study ${params.study}
    """
}

process TRAINING {
    cpus 2
    input:
    val shards
    val folds
    output:
    val true
    script:
    """
    cd ${launchDir}
    ${params.python} mil/train.py --study ${params.study} --encoder ${params.encoder} --task ${params.task}
    """
}

workflow {
    parts = Channel.of(1..(params.shards as int))
    tiled = TILES(parts).collect()
    embedded = FEATURES(tiled.flatten())
    TRAINING(embedded.collect(), FOLDS())
}

"""The field's claims about over-parameterised networks, tested again: a study is a file in claims/ and a line below."""

from dnal.base.registry import Registry
from dnal.studies.check import Check, Verdict
from dnal.studies.study import Size, Sizes, Source, Study

STUDIES = Registry(
    "study",
    Study,
    {
        "activate-while-pruning": "dnal.studies.claims.activate_while_pruning:NegativeWeightsSilence",
        "assessor": "dnal.studies.claims.assessor:UnlabelledArchitecturesHelp",
        "binary-mobilenet": "dnal.studies.claims.binary_mobilenet:GroupsReplaceDepthwise",
        "circuits": "dnal.studies.claims.circuits:CircuitsKeepTheirInputs",
        "dagnn": "dnal.studies.claims.dagnn:HopsApartFromLayersMayBeMany",
        "data-diet": "dnal.studies.claims.data_diet:FewExamplesSuffice",
        "embedding": "dnal.studies.claims.embedding:DescentFindsSparseNetworks",
        "estimability": "dnal.studies.claims.estimability:SomeErrorsCannotBeEstimated",
        "geometry": "dnal.studies.claims.geometry:GeometryOfRemoval",
        "growth": "dnal.studies.claims.growth:GrownNetworksReachLargeOnes",
        "guidance": "dnal.studies.claims.guidance:GuidesMakeNetworksTrain",
        "hypernetwork-trade-off": "dnal.studies.claims.hypernetwork_trade_off:OneHypernetworkGivesTheTradeOff",
        "hypernetworks": "dnal.studies.claims.hypernetworks:HypernetworksTrainStably",
        "measures": "dnal.studies.claims.measures:MeasuresFlip",
        "measures-compact": "dnal.studies.claims.measures_compact:MeasuresOfCompactNetworks",
        "more-is-better": "dnal.studies.claims.more_is_better:MoreIsBetter",
        "nas-predictor": "dnal.studies.claims.nas_predictor:TransformersRankArchitectures",
        "nio": "dnal.studies.claims.nio:ScalesOfTheStart",
        "predictor-search": "dnal.studies.claims.predictor_search:PredictorsSaveEvaluations",
        "overtraining": "dnal.studies.claims.overtraining:OvertrainingPeaksAtTheThreshold",
        "random-search": "dnal.studies.claims.random_search:RandomSearchIsNoBetter",
        "noisy-labels": "dnal.studies.claims.noisy_labels:FewFeaturesIgnoreNoise",
        "rich-features": "dnal.studies.claims.rich_features:RichFeaturesGeneralise",
        "scaling": "dnal.studies.claims.scaling:RankingsDependOnTraining",
        "ssnn": "dnal.studies.claims.ssnn:GraphsModulateGeneralisation",
        "subgm": "dnal.studies.claims.subgm:RankNeedsNotBeKnown",
        "swarm": "dnal.studies.claims.swarm:SwarmsBeatChance",
        "tas-target": "dnal.studies.claims.tas_target:TasEndsAtItsTarget",
        "todyformer": "dnal.studies.claims.todyformer:PatchesSeeTheWhole",
        "tickets": "dnal.studies.claims.tickets:TicketsBeatControls",
        "tickets-restoration": "dnal.studies.claims.tickets_restoration:TicketsRestoreImages",
        "lambda-curve": "dnal.studies.claims.lambda_curve:LambdaTracesTheTradeOff",
        "tuning": "dnal.studies.claims.tuning:TasksChooseAHyperparameter",
        "depth": "dnal.studies.claims.depth:WholeBlocksPay",
        "self-tuning": "dnal.studies.claims.self_tuning:OneTrainingTunes",
        "supernet-search": "dnal.studies.claims.supernet_search:LearningBeatsChance",
        "universality": "dnal.studies.claims.universality:SimpleTargetsStayCheap",
        "weights": "dnal.studies.claims.weights:WeightsTellAccuracy",
        "widenet": "dnal.studies.claims.widenet:WiderInsteadOfDeeper",
        "weight-compander": "dnal.studies.claims.weight_compander:CompandedWeightsStaySmall",
        "xor-grokking": "dnal.studies.claims.xor_grokking:XorIsGrokked",
    },
)
"""All studies by name."""

__all__ = ["STUDIES", "Check", "Size", "Sizes", "Source", "Study", "Verdict"]
